"""Replays a recorded run of the published training loop with our own steps.

Random choices of the recorded run were fixed: no dropout, no strong
augmentation, anchors and negatives taken in order instead of drawn.
"""

import contextlib
import json
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from tests import tiny
from tests.parity import contrast_replay, golden, network
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import contrast, memory_bank, partition
from u2pl_jax.models import torch_names
from u2pl_jax.ops import interleave, mixing
from u2pl_jax.training import optim, train_state, train_step

# Images are int8 in the files, in steps of 1 / 32.
IMAGE_SCALE = 32
# Stands in recordings for the pseudo-labels of a supervised step.
NO_PSEUDO_LABEL = 254


def timeline_of(config: dict[str, Any]) -> timeline_lib.Timeline:
  return timeline_lib.Timeline(config["n"], config["epochs"], config["soe"])


def head_factor_of(config: dict[str, Any]) -> float:
  return 10.0 if "pascal" in config["dtype_name"] else 1.0


def _networks(config: dict[str, Any]) -> tuple[Any, dict, dict]:
  """The network without dropout, student's and teacher's variables."""
  architecture = {
    "num_classes": config["C"],
    "stem": "deep",
    "aux_head": config["aux"],
    "rep_head": True,
  }
  for key in (
    "depth", "replace_stride_with_dilation", "multi_grid", "aspp_rates"
  ):  # fmt: skip
    architecture[key] = config[key]
  model, student = network.build(
    architecture | {"salt": config["student_salt"]}
  )
  _, teacher = network.build(architecture | {"salt": config["teacher_salt"]})
  return model.clone(dropout_rate=0.0), student, teacher


def _contrast_options(
  config: dict[str, Any], batch_size: int, num_labeled: int
) -> contrast.ContrastOptions:
  given = config["contra"]
  # What the steps do always.
  assert given["negative_high_entropy"] and given["low_entropy_threshold"] == 20
  feature_pixels = np.prod([(side - 1) // 4 + 1 for side in config["hw"]])
  return tiny.make_contrast_options(
    "reference",
    **contrast_replay.recorded_settings(given),
    num_classes=config["C"],
    weight=given["loss_weight"],
    max_negative_prob=given["current_class_negative_threshold"],
    label_stack=num_labeled,
    max_keys_per_class=batch_size * int(feature_pixels),
  )


def _loss_of(criterion: dict[str, Any]) -> pixelwise.SupervisedLoss:
  settings = criterion["kwargs"]
  if criterion["type"] == "ohem":
    return pixelwise.make_supervised_loss(
      kind="ohem",
      ohem_threshold=settings["thresh"],
      ohem_min_kept=settings["min_kept"],
    )
  assert not settings["use_weight"]
  return pixelwise.make_supervised_loss(
    kind="ce", ohem_threshold=0.0, ohem_min_kept=0
  )


def _make_steps(model, tx, config, batch_size, num_labeled):
  contrast_options = None
  if config["contra"]:
    contrast_options = _contrast_options(config, batch_size, num_labeled)
  options = tiny.make_step_options(
    "reference",
    loss=_loss_of(config["crit"]),
    strong_augment=dict(mode="none", probability=0.0),
    contrast=contrast_options,
  )
  return (
    train_step.make_supervised_step(model, tx, options),
    train_step.make_semi_step(model, tx, timeline_of(config), options),
  )


def _pairing_of(config):
  """Replaces the loss where a run used the published pairing."""
  if not config["contra"] or config.get("corrected"):
    return contextlib.nullcontext()
  compute_loss = contrast.compute_loss

  def loss_by_position(rep, plan, options):
    _, plan = contrast_replay.pair_by_position(plan)
    return compute_loss(rep, plan, options)

  return mock.patch.object(contrast, "compute_loss", loss_by_position)


# Function of a step -> what a recording holds of its arguments and results.
_OBSERVED = (
  (mixing, "strong_augment", lambda _, mixed: {"pseudo_label": mixed[1]}),
  (
    partition,
    "partition_by_entropy",
    lambda _, split: {
      "unsup_kept": jnp.sum(split.kept),
      "percentile_values": jnp.stack(
        [
          split.drop_threshold,
          split.reliable_threshold,
          split.unreliable_threshold,
        ]
      ),
    },
  ),
  (
    contrast,
    "label_pixels",
    lambda _, pixels: {
      "contra_low_valid": jnp.sum(
        pixels.is_class & pixels.reliable[..., None], axis=(0, 1)
      )
    },
  ),
  (
    memory_bank,
    "push",
    lambda arguments, _: {"contra_new_negatives": jnp.sum(arguments[2], 1)},
  ),
)


def _one_behind_the_other(labeled, unlabeled):
  return jnp.concatenate([labeled, unlabeled])


def _part(batch, num_labeled):
  return batch[:num_labeled], batch[num_labeled:]


def _observe(step, config):
  """step(state, batch) -> (state, metrics, observed) with nothing random."""

  def spy(observed, module, name, look):
    original = getattr(module, name)

    def spied(*arguments, **settings):
      result = original(*arguments, **settings)
      observed.update(look(arguments, result))
      return result

    return mock.patch.object(module, name, spied)

  def observing(state, batch):
    observed = {}
    with contextlib.ExitStack() as patches:
      for place in _OBSERVED:
        patches.enter_context(spy(observed, *place))
      patches.enter_context(
        mock.patch.object(mixing, "normalize", lambda images: images)
      )
      patches.enter_context(contrast_replay.arange_sampler())
      # In which order images come decides which pixels are the first ones.
      patches.enter_context(
        mock.patch.multiple(interleave, join=_one_behind_the_other, part=_part)
      )
      patches.enter_context(_pairing_of(config))
      new_state, metrics = step(state, batch, jax.random.key(0))
    return new_state, metrics, observed

  return jax.jit(observing)


def _initial_state(model, tx, student, teacher, config):
  bank = None
  if config["contra"]:
    others, class0 = config["q"]
    capacity = [class0] + [others] * (config["C"] - 1)
    bank = memory_bank.create_memory_bank(capacity, model.rep_channels)
  return train_state.TrainState(
    step=jnp.int32(0),
    params=student["params"],
    batch_stats=student["batch_stats"],
    opt_state=tx.init(student["params"]),
    teacher_params=teacher["params"],
    teacher_batch_stats=teacher["batch_stats"],
    memory_bank=bank,
  )


def _norm(arrays) -> float:
  return float(np.sqrt(sum(np.sum(np.square(a, dtype="f8")) for a in arrays)))


def _describe(who, variables, initial, names) -> dict[str, Any]:
  """Norms and some entries of a network, by their names in the recordings."""
  entries = torch_names.to_torch(variables)
  leaf = {name: name.rsplit(".", 1)[-1] for name in entries}
  parameters = {n: entries[n] for n in entries if leaf[n] in ("weight", "bias")}
  record = {}
  for group in ("encoder", "decoder", "auxor", "all"):
    members = [n for n in parameters if group in ("all", n.split(".")[0])]
    record[f"{who}_norm/{group}"] = _norm(parameters[n] for n in members)
    record[f"{who}_delta_norm/{group}"] = _norm(
      parameters[n].astype("f8") - initial[n] for n in members
    )
  for kind in ("running_mean", "running_var"):
    record[f"{who}_bn_norm/{kind}"] = _norm(
      entries[n] for n in entries if leaf[n] == kind
    )
  for name in names:
    owner, _, entry = name.partition("/")
    if owner in (f"{who}_bn", f"{who}_param") and entry in entries:
      record[name] = entries[entry]
  return record


def _difference(state: train_state.TrainState) -> float:
  return _norm(
    np.asarray(t, "f8") - s
    for t, s in zip(
      jax.tree.leaves(state.teacher_params),
      jax.tree.leaves(state.params),
      strict=True,
    )
  )


@golden.once_per_input
def run(
  config_json: str, images: np.ndarray, labels: np.ndarray, names: list[str]
) -> dict[str, np.ndarray]:
  """Replays a run.

  Args:
    config_json: of the recording.
    images: its `image_q`, [steps, B, 3, H, W] int8, labelled ones first.
    labels: its `label`, [steps, B_l, H, W].
    names: of all its arrays.

  Returns:
    Arrays under the recording's names, the first axis being the step.
  """
  config = json.loads(config_json)
  num_labeled = labels.shape[1]
  timeline = timeline_of(config)
  model, student, teacher = _networks(config)
  tx = optim.create_optimizer(
    learning_rate=config["lr"],
    head_factor=head_factor_of(config),
    power=0.9,
    momentum=0.9,
    weight_decay=config["wd"],
    total_steps=timeline.total_steps,
  )
  supervised_step, semi_step = (
    _observe(step, config)
    for step in _make_steps(model, tx, config, images.shape[1], num_labeled)
  )
  state = _initial_state(model, tx, student, teacher, config)
  initial = torch_names.to_torch(student)
  records = []
  for index in range(len(labels)):
    pixels = golden.channels_last(np.float32(images[index]) / IMAGE_SCALE)
    batch = {
      "image_l": pixels[:num_labeled],
      "label_l": labels[index],
      "image_u": pixels[num_labeled:],
    }
    is_semi = index >= timeline.first_semi_step
    step = semi_step if is_semi else supervised_step
    with jax.default_matmul_precision("highest"):
      state, metrics, observed = jax.device_get(step(state, batch))
    records.append(_record(state, metrics, observed, initial, names))
  return {
    name: np.array([_value(record, name, records) for record in records])
    for name in {name for record in records for name in record}
  }


def _value(record, name, records):
  """A step's entry; NaN in a phase that has none."""
  if name in record:
    return record[name]
  shape = next(np.shape(other[name]) for other in records if name in other)
  return np.full(shape, np.nan)


def _record(state, metrics, observed, initial, names):
  record = {
    "loss_sup": metrics["loss/supervised"],
    "loss_unsup": metrics.get("loss/unsupervised", 0.0),
    "loss_contra": metrics.get("loss/contrastive", 0.0),
    "teacher_minus_student_norm/all": _difference(state),
  }
  record |= _describe("student", state.student_variables, initial, names)
  record |= _describe("teacher", state.teacher_variables, initial, names)
  if state.memory_bank is not None:
    record["queue_length"] = state.memory_bank.count
  if observed:
    alpha = metrics["semi/unreliable_percent"]
    percents = [metrics["semi/drop_percent"], alpha, 100 - alpha]
    record |= observed | {"percentile_args": percents}
  return record
