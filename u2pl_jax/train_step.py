"""One training step of U2PL, assembled from the rules in their own modules.

Read `make_semi_step` beside section 3 of the paper: pseudo-labels, strong
augmentation, partition by entropy, memory bank, three losses, SGD, EMA.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from u2pl_jax import (
  IGNORE_LABEL,
  augment,
  contrast,
  halves,
  inference,
  partition,
  resize,
  schedules,
  train_state,
)
from u2pl_jax.losses import supervised, unsupervised

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[
  [train_state.TrainState, Batch, jax.Array],
  tuple[train_state.TrainState, Metrics],
]

STATISTICS_POLICIES = ("forward", "ema")
_STREAMS = ("augment", "student", "teacher", "contrast")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
  """Settings of a step.

  A supervised one reads `loss`, `aux_weight`, `teacher_dropout` and
  `teacher_batch_stats` alone.

  Attributes:
    loss: supervised loss of logits and labels.
    aux_weight: of the supervised auxiliary term, >= 0.
    strong_augment: `mode` and `probability` of `augment.strong_augment`.
    unsupervised_weight: of the unsupervised loss, >= 0.
    drop_percent: of entropies kept at the start of training, 80.
    unreliable_percent: alpha_0, 20.
    reliable: see `partition.partition_by_entropy`.
    teacher_dropout: whether dropout is active in the teacher's train-mode
      forward pass.
    teacher_batch_stats: "forward" lets the teacher's train-mode forward pass
      update its running statistics (both recipes); "ema" averages them from
      the student's like the parameters.
    teacher_first_epoch: see `schedules.ema_decay`.
    ema_decay: largest decay of the teacher, 0.99.
    contrast: options of the contrastive loss; None leaves it out.

  Raises:
    ValueError: `teacher_batch_stats` is unknown.
  """

  loss: supervised.SupervisedLoss
  aux_weight: float
  strong_augment: Mapping[str, Any]
  unsupervised_weight: float
  drop_percent: float
  unreliable_percent: float
  reliable: str
  teacher_dropout: bool
  teacher_batch_stats: str
  teacher_first_epoch: str
  ema_decay: float
  contrast: contrast.ContrastOptions | None

  def __post_init__(self):
    if self.teacher_batch_stats not in STATISTICS_POLICIES:
      raise ValueError(
        f"semi.teacher_batch_stats={self.teacher_batch_stats!r}: expected one"
        f" of {STATISTICS_POLICIES}"
      )


def _streams(base_rng: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
  """Named random keys that depend on the step alone, so resume is exact."""
  keys = jax.random.split(jax.random.fold_in(base_rng, step), len(_STREAMS))
  return dict(zip(_STREAMS, keys, strict=True))


def _forward_train(
  model: nn.Module,
  variables: Mapping[str, Any],
  images: jax.Array,
  key: jax.Array,
  *,
  dropout: bool,
) -> tuple[dict[str, jax.Array], Any]:
  """A forward pass on batch statistics: outputs and new running statistics."""
  outputs, updates = model.apply(
    variables,
    images,
    train=True,
    dropout=dropout,
    rngs={"dropout": key},
    mutable=["batch_stats"],
  )
  return outputs, updates["batch_stats"]


def _supervised_terms(
  outputs: dict[str, jax.Array],
  labels: jax.Array,
  options: StepOptions,
) -> jax.Array:
  """Loss of the main and, where there is one, the auxiliary prediction."""
  size = labels.shape[1:]
  total = options.loss(resize.resize_bilinear(outputs["logits"], size), labels)
  if "aux" in outputs:
    aux = resize.resize_bilinear(outputs["aux"], size)
    total += options.aux_weight * options.loss(aux, labels)
  return total


def _apply_gradients(
  state: train_state.TrainState, tx: optax.GradientTransformation, grads: Any
) -> tuple[Any, Any]:
  """New parameters and optimiser state."""
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  return optax.apply_updates(state.params, updates), opt_state


def make_supervised_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  options: StepOptions,
) -> Step:
  """A step on the labelled images alone.

  Where the state has a teacher that keeps statistics of its own, it makes one
  train-mode forward pass for their sake; its parameters stay as they are.

  Args:
    model: the network.
    tx: the optimiser.
    options: of the step.

  Returns:
    step(state, batch, base_rng) -> (state, metrics) with metrics
    `loss/supervised`, `loss/total` and `grad/norm`.

  Reference: algorithm section 2, last but one paragraph; `train_sup.py`.
  """

  def step(state, batch, base_rng):
    keys = _streams(base_rng, state.step)
    images = augment.normalize(batch["image_l"])
    labels = batch["label_l"].astype(jnp.int32)

    def compute_loss(params):
      student = {"params": params, "batch_stats": state.batch_stats}
      outputs, batch_stats = _forward_train(
        model, student, images, keys["student"], dropout=True
      )
      return _supervised_terms(outputs, labels, options), batch_stats

    (total, batch_stats), grads = jax.value_and_grad(
      compute_loss, has_aux=True
    )(state.params)
    params, opt_state = _apply_gradients(state, tx, grads)
    new_teacher_stats = state.teacher_batch_stats
    keeps_statistics = options.teacher_batch_stats == "forward"
    if state.teacher_params is not None and keeps_statistics:
      _, new_teacher_stats = _forward_train(
        model,
        state.teacher_variables,
        images,
        keys["teacher"],
        dropout=options.teacher_dropout,
      )
    new_state = state.replace(
      step=state.step + 1,
      params=params,
      batch_stats=batch_stats,
      opt_state=opt_state,
      teacher_batch_stats=new_teacher_stats,
    )
    return new_state, {
      "loss/supervised": total,
      "loss/total": total,
      "grad/norm": optax.tree.norm(grads),
    }

  return step


def _strong_view(
  model: nn.Module,
  teacher: Mapping[str, Any],
  images: jax.Array,
  key: jax.Array,
  options: StepOptions,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Strongly augmented images, pseudo-labels int32 and confidence.

  The teacher in eval mode labels the weak view, of which the strong view is
  made with its labels. Shapes [B, H, W, 3], [B, H, W] and [B, H, W].
  """
  logits = inference.make_net(model, teacher)(images)
  labels = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  confidence = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
  return augment.strong_augment(
    key,
    images,
    labels,
    confidence,
    num_classes=model.num_classes,
    **options.strong_augment,
  )


def make_semi_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  timeline: schedules.Timeline,
  options: StepOptions,
) -> Step:
  """A step on labelled and unlabelled images.

  Args:
    model: the network, with a representation head if `options.contrast`.
    tx: the optimiser.
    timeline: of the run.
    options: of the step.

  Returns:
    step(state, batch, base_rng) -> (state, metrics); metrics are scalars but
    for `bank/fill` and `contrast/anchors`, which are [K].

  Reference: paper section 3, algorithm 1; `train_semi.py` (train).
  """

  def step(state, batch, base_rng):
    keys = _streams(base_rng, state.step)
    progress = timeline.progress(state.step)
    drop_percent = schedules.drop_percent(progress, options.drop_percent)
    alpha = schedules.unreliable_percent(progress, options.unreliable_percent)
    labels_l = batch["label_l"].astype(jnp.int32)
    batch_l, size = labels_l.shape[0], labels_l.shape[1:]

    # The teacher labels the weak view; the strong view is made of it.
    teacher = train_state.teacher_at_start(
      state,
      is_first=state.step == timeline.first_semi_step,
      copy_statistics=options.teacher_batch_stats == "ema",
    )
    images_u, labels_u, confidence = _strong_view(
      model,
      teacher,
      augment.normalize(batch["image_u"]),
      keys["augment"],
      options,
    )
    images = halves.join(augment.normalize(batch["image_l"]), images_u)

    # The teacher in train mode, on what the student sees: which unlabelled
    # pixels are to be trusted?
    teacher_outputs, forward_stats = _forward_train(
      model, teacher, images, keys["teacher"], dropout=options.teacher_dropout
    )
    if options.teacher_batch_stats == "forward":
      teacher["batch_stats"] = forward_stats
    _, logits_u = halves.part(teacher_outputs["logits"], batch_l)
    logits_u = resize.resize_bilinear(logits_u, size)
    valid_u = labels_u != IGNORE_LABEL
    split = partition.partition_by_entropy(
      partition.compute_entropy(logits_u),
      valid_u,
      drop_percent=drop_percent,
      unreliable_percent=alpha,
      reliable=options.reliable,
    )

    # New keys enter the bank before anchors and negatives are drawn.
    bank, plan = state.memory_bank, None
    if options.contrast is not None:
      pixels = contrast.label_pixels(
        labels_l,
        labels_u,
        split,
        teacher_outputs["logits"].shape[1:3],
        options.contrast,
      )
      bank, plan = contrast.prepare(
        keys["contrast"], bank, teacher_outputs, pixels, options.contrast
      )

    def compute_loss(params):
      student = {"params": params, "batch_stats": state.batch_stats}
      outputs, batch_stats = _forward_train(
        model, student, images, keys["student"], dropout=True
      )
      losses = _semi_losses(outputs, labels_l, labels_u, split, plan, options)
      return sum(losses.values()), (losses, batch_stats)

    (total, (losses, batch_stats)), grads = jax.value_and_grad(
      compute_loss, has_aux=True
    )(state.params)

    # SGD, then the teacher follows.
    new_state, decay = _update(
      state.replace(memory_bank=bank),
      tx,
      grads,
      batch_stats,
      teacher,
      timeline,
      options,
    )
    metrics = {
      "loss/total": total,
      "grad/norm": optax.tree.norm(grads),
      "semi/drop_percent": drop_percent,
      "semi/unreliable_percent": alpha,
      "semi/ema_decay": decay,
    }
    metrics |= {f"loss/{name}": value for name, value in losses.items()}
    metrics |= partition.summarize(split, valid_u)
    metrics["semi/confidence"] = supervised.masked_mean(confidence, valid_u)
    if plan is not None:
      metrics |= plan.metrics | {"bank/fill": bank.fill}
    return new_state, metrics

  return step


def _update(
  state: train_state.TrainState,
  tx: optax.GradientTransformation,
  grads: Any,
  batch_stats: Any,
  teacher: Mapping[str, Any],
  timeline: schedules.Timeline,
  options: StepOptions,
) -> tuple[train_state.TrainState, jax.Array]:
  """The state after the update, and the decay that the teacher followed at."""
  params, opt_state = _apply_gradients(state, tx, grads)
  decay = schedules.ema_decay(
    state.step,
    timeline,
    max_decay=options.ema_decay,
    first_epoch=options.teacher_first_epoch,
  )
  teacher_stats = teacher["batch_stats"]
  if options.teacher_batch_stats == "ema":
    teacher_stats = train_state.ema_update(teacher_stats, batch_stats, decay)
  new_state = state.replace(
    step=state.step + 1,
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    teacher_params=train_state.ema_update(teacher["params"], params, decay),
    teacher_batch_stats=teacher_stats,
  )
  return new_state, decay


def _semi_losses(
  outputs: dict[str, jax.Array],
  labels_l: jax.Array,
  labels_u: jax.Array,
  split: partition.Partition,
  plan: contrast.Plan | None,
  options: StepOptions,
) -> dict[str, jax.Array]:
  """The student's weighted losses, from its outputs on both halves."""
  batch_l, size = labels_l.shape[0], labels_l.shape[1:]
  logits_l, logits_u = halves.part(outputs["logits"], batch_l)
  outputs_l = {"logits": logits_l}
  if "aux" in outputs:
    outputs_l["aux"], _ = halves.part(outputs["aux"], batch_l)
  logits_u = resize.resize_bilinear(logits_u, size)
  losses = {
    "supervised": _supervised_terms(outputs_l, labels_l, options),
    "unsupervised": options.unsupervised_weight
    * unsupervised.unsupervised_loss(logits_u, labels_u, split.kept),
  }
  if plan is not None:
    losses["contrastive"] = contrast.compute_loss(
      outputs["rep"], plan, options.contrast
    )
  return losses
