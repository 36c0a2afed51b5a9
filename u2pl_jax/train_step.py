"""One training step of U2PL, assembled from the rules in their own modules.

Read `make_semi_step` beside section 3 of the paper: pseudo-labels, strong
augmentation, partition by entropy, memory bank, three losses, SGD, EMA.
"""

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


def _streams(base_rng: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
  """Named random keys that depend on the step alone, so resume is exact."""
  keys = jax.random.split(jax.random.fold_in(base_rng, step), len(_STREAMS))
  return dict(zip(_STREAMS, keys, strict=True))


def _forward_train(
  model: nn.Module,
  params: Any,
  batch_stats: Any,
  images: jax.Array,
  key: jax.Array,
  *,
  dropout: bool,
) -> tuple[dict[str, jax.Array], Any]:
  """A forward pass on batch statistics: outputs and new running statistics."""
  outputs, updates = model.apply(
    {"params": params, "batch_stats": batch_stats},
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
  loss: supervised.SupervisedLoss,
  aux_weight: float,
) -> jax.Array:
  """Loss of the main and, where there is one, the auxiliary prediction."""
  size = labels.shape[1:]
  total = loss(resize.resize_bilinear(outputs["logits"], size), labels)
  if "aux" in outputs:
    aux = resize.resize_bilinear(outputs["aux"], size)
    total += aux_weight * loss(aux, labels)
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
  *,
  loss: supervised.SupervisedLoss,
  aux_weight: float,
  teacher_dropout: bool,
  teacher_batch_stats: str,
) -> Step:
  """A step on the labelled images alone.

  Where the state has a teacher that keeps statistics of its own, it makes one
  train-mode forward pass for their sake; its parameters stay as they are.

  Args:
    model: the network.
    tx: the optimiser.
    loss: of logits and labels.
    aux_weight: of the auxiliary term, >= 0.
    teacher_dropout: whether dropout is active in the teacher.
    teacher_batch_stats: see `make_semi_step`.

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
      outputs, batch_stats = _forward_train(
        model, params, state.batch_stats, images, keys["student"], dropout=True
      )
      return _supervised_terms(outputs, labels, loss, aux_weight), batch_stats

    (total, batch_stats), grads = jax.value_and_grad(
      compute_loss, has_aux=True
    )(state.params)
    params, opt_state = _apply_gradients(state, tx, grads)
    new_teacher_stats = state.teacher_batch_stats
    if state.teacher_params is not None and teacher_batch_stats == "forward":
      _, new_teacher_stats = _forward_train(
        model,
        state.teacher_params,
        state.teacher_batch_stats,
        images,
        keys["teacher"],
        dropout=teacher_dropout,
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


def _teacher_at_start(
  state: train_state.TrainState,
  first_semi_step: int,
  teacher_batch_stats: str,
) -> tuple[Any, Any]:
  """The teacher, made the student's copy as the first semi step begins."""
  is_first = state.step == first_semi_step

  def copy_if_first(teacher, student):
    return jax.tree.map(
      lambda t, s: jnp.where(is_first, s, t), teacher, student
    )

  params = copy_if_first(state.teacher_params, state.params)
  stats = state.teacher_batch_stats
  if teacher_batch_stats == "ema":
    stats = copy_if_first(stats, state.batch_stats)
  return params, stats


def _pseudo_labels(
  model: nn.Module, variables: Any, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Labels int32 and confidence float32, both [B, H, W], in eval mode."""
  outputs = model.apply(variables, images, train=False, dropout=False)
  logits = resize.resize_bilinear(outputs["logits"], images.shape[1:3])
  probs = jax.nn.softmax(logits, axis=-1)
  return jnp.argmax(logits, axis=-1).astype(jnp.int32), jnp.max(probs, axis=-1)


def make_semi_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  timeline: schedules.Timeline,
  *,
  loss: supervised.SupervisedLoss,
  aux_weight: float,
  strong_augment: Mapping[str, Any],
  unsupervised_weight: float,
  drop_percent: float,
  unreliable_percent: float,
  reliable: str,
  teacher_dropout: bool,
  teacher_batch_stats: str,
  teacher_first_epoch: str,
  ema_decay: float,
  contrast_options: contrast.ContrastOptions | None,
) -> Step:
  """A step on labelled and unlabelled images.

  Args:
    model: the network, with a representation head if `contrast_options`.
    tx: the optimiser.
    timeline: of the run.
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
    contrast_options: of the contrastive loss; None leaves it out.

  Returns:
    step(state, batch, base_rng) -> (state, metrics); metrics are scalars but
    for `bank/fill` and `contrast/anchors`, which are [K].

  Raises:
    ValueError: an option is not one of those listed.

  Reference: paper section 3, algorithm 1; `train_semi.py` (train).
  """
  if teacher_batch_stats not in STATISTICS_POLICIES:
    raise ValueError(
      f"semi.teacher_batch_stats={teacher_batch_stats!r}: expected one of"
      f" {STATISTICS_POLICIES}"
    )

  def step(state, batch, base_rng):
    keys = _streams(base_rng, state.step)
    progress = timeline.progress(state.step)
    images_l = augment.normalize(batch["image_l"])
    labels_l = batch["label_l"].astype(jnp.int32)
    batch_l, size = labels_l.shape[0], labels_l.shape[1:]

    # 1, 2. The teacher labels the weak view; the strong view is made of it.
    teacher_params, teacher_stats = _teacher_at_start(
      state, timeline.first_semi_step, teacher_batch_stats
    )
    weak_u = augment.normalize(batch["image_u"])
    labels_u, confidence = _pseudo_labels(
      model,
      {"params": teacher_params, "batch_stats": teacher_stats},
      weak_u,
    )
    images_u, labels_u, confidence = augment.strong_augment(
      keys["augment"],
      weak_u,
      labels_u,
      confidence,
      num_classes=model.num_classes,
      **strong_augment,
    )
    images = jnp.concatenate([images_l, images_u])

    # 5. The teacher in train mode, on what the student sees.
    teacher_outputs, forward_stats = _forward_train(
      model,
      teacher_params,
      teacher_stats,
      images,
      keys["teacher"],
      dropout=teacher_dropout,
    )
    teacher_logits_u = resize.resize_bilinear(
      teacher_outputs["logits"][batch_l:], size
    )

    # 6. Which unlabelled pixels are to be trusted.
    percent = schedules.drop_percent(progress, drop_percent)
    alpha = schedules.unreliable_percent(progress, unreliable_percent)
    valid_u = labels_u != IGNORE_LABEL
    split = partition.partition_by_entropy(
      partition.compute_entropy(teacher_logits_u),
      valid_u,
      drop_percent=percent,
      unreliable_percent=alpha,
      reliable=reliable,
    )

    # 7. New keys enter the bank before anchors and negatives are drawn.
    bank, plan = state.memory_bank, None
    if contrast_options is not None:
      bank, plan = contrast.prepare(
        keys["contrast"],
        bank,
        teacher_outputs,
        contrast.label_pixels(
          labels_l, labels_u, split, teacher_outputs["logits"].shape[1:3]
        ),
        contrast_options,
      )

    def compute_loss(params):
      # 3, 4, 6, 7. The student on both halves; its three losses.
      outputs, batch_stats = _forward_train(
        model, params, state.batch_stats, images, keys["student"], dropout=True
      )
      outputs_l = {name: value[:batch_l] for name, value in outputs.items()}
      losses = {
        "supervised": _supervised_terms(outputs_l, labels_l, loss, aux_weight),
        "unsupervised": unsupervised_weight
        * unsupervised.unsupervised_loss(
          resize.resize_bilinear(outputs["logits"][batch_l:], size),
          labels_u,
          split.kept,
        ),
      }
      if plan is not None:
        losses["contrastive"] = contrast.compute_loss(
          outputs["rep"], plan, contrast_options
        )
      return sum(losses.values()), (losses, batch_stats)

    (total, (losses, batch_stats)), grads = jax.value_and_grad(
      compute_loss, has_aux=True
    )(state.params)

    # 8, 9. SGD, then the teacher follows.
    params, opt_state = _apply_gradients(state, tx, grads)
    decay = schedules.ema_decay(
      state.step, timeline, max_decay=ema_decay, first_epoch=teacher_first_epoch
    )
    if teacher_batch_stats == "ema":
      forward_stats = train_state.ema_update(teacher_stats, batch_stats, decay)
    new_state = state.replace(
      step=state.step + 1,
      params=params,
      batch_stats=batch_stats,
      opt_state=opt_state,
      teacher_params=train_state.ema_update(teacher_params, params, decay),
      teacher_batch_stats=forward_stats,
      memory_bank=bank,
    )
    count_u = jnp.maximum(jnp.sum(valid_u, dtype=jnp.int32), 1)
    metrics = {f"loss/{name}": value for name, value in losses.items()}
    metrics |= {
      "loss/total": total,
      "grad/norm": optax.tree.norm(grads),
      "semi/drop_percent": percent,
      "semi/unreliable_percent": alpha,
      "semi/drop_threshold": split.drop_threshold,
      "semi/reliable_threshold": split.reliable_threshold,
      "semi/unreliable_threshold": split.unreliable_threshold,
      "semi/kept_fraction": jnp.sum(split.kept) / count_u,
      "semi/reliable_fraction": jnp.sum(split.reliable) / count_u,
      "semi/confidence": supervised.masked_mean(confidence, valid_u),
      "semi/ema_decay": decay,
    }
    if plan is not None:
      metrics |= plan.metrics
      metrics["bank/fill"] = bank.fill
    return new_state, metrics

  return step
