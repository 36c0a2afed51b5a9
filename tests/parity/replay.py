"""Replays a recorded run of the published training loop with our own steps.

Random choices of the recorded run were fixed: no dropout, no strong
augmentation, anchors and negatives taken in order instead of drawn. All this is
asked of the method from outside, none of it is patched.
"""

import dataclasses
import json
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import contrast_replay, golden, network
from u2pl_jax import methods
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import method as method_lib
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.models import torch_names
from u2pl_jax.training import optim, train_state, train_step

U2PL = methods.find("u2pl")
# Images are int8 in the files, in steps of 1 / 32.
IMAGE_SCALE = 32
# Stands in recordings for the pseudo-labels of a supervised step.
NO_PSEUDO_LABEL = 254
# The images of a recorded batch stand one behind the other; their order decides
# which pixels are the first ones.
ONE_BEHIND_THE_OTHER = types.SimpleNamespace(
  join=lambda labeled, unlabeled: jnp.concatenate([labeled, unlabeled]),
  part=lambda batch, count: (batch[:count], batch[count:]),
)


def timeline_of(config: dict[str, Any]) -> timeline_lib.Timeline:
  return timeline_lib.Timeline(config["n"], config["epochs"])


def optimizer_of(config: dict[str, Any]) -> optim.OptimOptions:
  head = 10.0 if "pascal" in config["dtype_name"] else 1.0
  return optim.OptimOptions(
    learning_rate=config["lr"],
    factors={"encoder": 1.0, "head": head},
    weight_decay=config["wd"],
  )


def _networks(config: dict[str, Any]) -> tuple[Any, dict, dict]:
  """The network without dropout, student's and teacher's variables."""
  architecture = {
    "num_classes": config["C"],
    "stem": "deep",
    "aux_head": config["aux"],
    "rep_head": True,
    "dropout_rate": 0.0,
  }
  for key in (
    "depth", "replace_stride_with_dilation", "multi_grid", "aspp_rates"
  ):  # fmt: skip
    architecture[key] = config[key]
  model, student = network.build(
    architecture | {"salt": config["student_salt"]}
  )
  _, teacher = network.build(architecture | {"salt": config["teacher_salt"]})
  # The recorded images are normalized already.
  model = model.clone(mean_rgb=(0.0,) * 3, std_rgb=(1.0,) * 3)
  return model, student, teacher


def _options(
  config: dict[str, Any], batch_size: int, num_labeled: int
) -> list[Any]:
  """The options of the `reference` recipe with what a recording says."""
  published = method_lib.Published(num_gpus=1, batch_size_l=num_labeled)
  settings = dict(U2PL.recipes(published)["reference"])
  settings["semi.supervised_epochs"] = config["soe"]
  settings["augment.mode"] = "none"
  settings["contrast.weight"] = 0.0
  if config["contra"]:
    given = config["contra"]
    # What the steps do always.
    assert given["negative_high_entropy"]
    assert given["low_entropy_threshold"] == 20
    others, class0 = config["q"]
    pixels = np.prod([(side - 1) // 4 + 1 for side in config["hw"]])
    settings |= {
      f"contrast.{name}": value
      for name, value in contrast_replay.recorded_settings(given).items()
    }
    settings |= {
      "contrast.weight": given["loss_weight"],
      "contrast.max_negative_prob": given["current_class_negative_threshold"],
      "contrast.max_keys_per_class": batch_size * int(pixels),
      "contrast.bank_capacity": others,
      "contrast.bank_capacity_class0": class0,
    }
  return [
    section.make(
      section.defaults()
      | {
        key.partition(".")[2]: value
        for key, value in settings.items()
        if key.startswith(f"{section.SECTION}.")
      }
    )
    for section in U2PL.OPTIONS
  ]


def _loss_of(criterion: dict[str, Any]) -> pixelwise.SupervisedLoss:
  settings = criterion["kwargs"]
  if criterion["type"] == "ohem":
    options = pixelwise.LossOptions(
      kind="ohem",
      ohem_threshold=settings["thresh"],
      ohem_min_kept=settings["min_kept"],
    )
  else:
    assert not settings["use_weight"]
    options = pixelwise.LossOptions()
  return pixelwise.make_supervised_loss(options)


def _make_phases(model, config, batch_size, num_labeled):
  parts = method_lib.Parts(
    model=model,
    supervised_loss=_loss_of(config["crit"]),
    timeline=timeline_of(config),
    class_names=tuple(map(str, range(config["C"]))),
    num_unlabeled=batch_size - num_labeled,
    batch_size_l=num_labeled,
    batch_size_u=batch_size - num_labeled,
    accumulate_steps=1,
  )
  phases = U2PL.create(
    parts,
    *_options(config, batch_size, num_labeled),
    draw=contrast_replay.first_ones,
    halves=ONE_BEHIND_THE_OTHER,
  )
  return [
    dataclasses.replace(phase, method=_observed(phase.method, config))
    for phase in phases
  ]


def _observed(
  method: method_lib.Method, config: dict[str, Any]
) -> method_lib.Method:
  """The method, with what a recording holds of a step among its metrics.

  Where a run used the published pairing of anchors and banks, so does this.
  """

  def teach(memory, *arguments):
    lesson, after, metrics = method.teach(memory, *arguments)
    if hasattr(lesson.targets, "split"):
      metrics = metrics | _observe(memory, after, lesson.targets)
    return lesson, after, metrics

  def losses(outputs, lesson):
    targets = lesson.targets
    if getattr(targets, "plan", None) and not config.get("corrected"):
      _, plan = contrast_replay.pair_by_position(targets.plan)
      lesson = lesson.replace(targets=targets.replace(plan=plan))
    return method.losses(outputs, lesson)

  return method._replace(teach=teach, losses=losses)


def _observe(before, after, targets) -> dict[str, jax.Array]:
  split = targets.split
  observed = {
    "pseudo_label": targets.labels_u,
    "unsup_kept": jnp.sum(split.kept),
    "percentile_values": jnp.stack(
      [
        split.drop_threshold,
        split.reliable_threshold,
        split.unreliable_threshold,
      ]
    ),
  }
  if targets.plan is not None:
    moved = after.bank.cursor - before.bank.cursor
    observed["contra_low_valid"] = targets.plan.members
    observed["contra_new_negatives"] = moved % after.bank.rows
  return {f"observed/{name}": value for name, value in observed.items()}


def _initial_state(model, tx, student, teacher, phase):
  """The published networks in the place of drawn ones."""
  state = train_state.create_train_state(jax.random.key(0), model, tx, phase)
  return state.replace(
    params=student["params"],
    batch_stats=student["batch_stats"],
    opt_state=tx.init(student["params"]),
    memory=state.memory.replace(teacher=teacher),
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
      jax.tree.leaves(state.memory.teacher["params"]),
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
    images: its `image_q`, [steps, B, 3, H, W] int8, labeled ones first.
    labels: its `label`, [steps, B_l, H, W].
    names: of all its arrays.

  Returns:
    Arrays under the recording's names, the first axis being the step.
  """
  config = json.loads(config_json)
  num_labeled = labels.shape[1]
  settings, timeline = optimizer_of(config), timeline_of(config)
  model, student, teacher = _networks(config)
  tx = optim.create_optimizer(
    settings,
    learning_rate=settings.learning_rate,
    total_steps=timeline.total_steps,
  )
  phases = _make_phases(model, config, images.shape[1], num_labeled)
  steps = [
    jax.jit(train_step.make_step(model, tx, phase.method)) for phase in phases
  ]
  state = _initial_state(model, tx, student, teacher, phases[0])
  initial = torch_names.to_torch(student)
  records = []
  for index in range(len(labels)):
    pixels = golden.channels_last(np.float32(images[index]) / IMAGE_SCALE)
    batch = {
      "image_l": pixels[:num_labeled],
      "label_l": labels[index],
      "image_u": pixels[num_labeled:],
    }
    place = sum(phase.first_step <= index for phase in phases) - 1
    if phases[place].first_step == index:
      state = train_state.begin_phase(state, phases[place], jax.random.key(0))
    with jax.default_matmul_precision("highest"):
      state, metrics = jax.device_get(
        steps[place](state, batch, jax.random.key(1))
      )
    records.append(_record(state, metrics, initial, names))
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


def _record(state, metrics, initial, names):
  record = {
    "loss_sup": metrics["loss/supervised"],
    "loss_unsup": metrics.get("loss/unsupervised", 0.0),
    "loss_contra": metrics.get("loss/contrastive", 0.0),
    "teacher_minus_student_norm/all": _difference(state),
  }
  teacher = state.memory.teacher
  record |= _describe("student", state.student, initial, names)
  record |= _describe("teacher", teacher, initial, names)
  if state.memory.bank is not None:
    record["queue_length"] = state.memory.bank.count
  if "semi/drop_percent" in metrics:
    alpha = metrics["semi/unreliable_percent"]
    percents = [metrics["semi/drop_percent"], alpha, 100 - alpha]
    record["percentile_args"] = percents
  return record | {
    name.removeprefix("observed/"): value
    for name, value in metrics.items()
    if name.startswith("observed/")
  }
