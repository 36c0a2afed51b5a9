"""One training step of U2PL, assembled from the rules in their own modules.

Read `make_semi_step` beside section 3 of the paper: pseudo-labels, strong
augmentation, partition by entropy, memory bank, three losses, SGD, EMA.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.evaluation import inference
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import contrast, partition
from u2pl_jax.ops import interleave, mixing, normalize, percentile, resize
from u2pl_jax.training import accumulate, step_options, train_state, update

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[
  [train_state.TrainState, Batch, jax.Array],
  tuple[train_state.TrainState, Metrics],
]

_STREAMS = ("augment", "student", "teacher", "contrast")


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
  options: step_options.StepOptions,
) -> jax.Array:
  """Loss of the main and, where there is one, the auxiliary prediction."""
  size = labels.shape[1:]
  total = options.loss(resize.resize_bilinear(outputs["logits"], size), labels)
  if "aux" in outputs:
    aux = resize.resize_bilinear(outputs["aux"], size)
    total += options.aux_weight * options.loss(aux, labels)
  return total


def _checked(metrics: Metrics) -> jax.Array:
  """What must be finite for a step to be applied."""
  return jnp.stack([metrics["loss/total"], metrics["grad/norm"]])


def make_supervised_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  options: step_options.StepOptions,
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
    `loss/supervised`, `loss/total` and `grad/norm`. Where these are not finite
    the state counts on and is else the same.

  Reference: algorithm section 2, last but one paragraph; `train_sup.py`.
  """

  def step(state, batch, base_rng):
    keeps_statistics = options.teacher_batch_stats == "forward"

    def compute(running, part, keys):
      images = normalize.normalize(part["image_l"])
      labels = part["label_l"].astype(jnp.int32)

      def compute_loss(params):
        student = {"params": params, "batch_stats": running.batch_stats}
        outputs, batch_stats = _forward_train(
          model, student, images, keys["student"], dropout=True
        )
        return _supervised_terms(outputs, labels, options), batch_stats

      (total, batch_stats), grads = jax.value_and_grad(
        compute_loss, has_aux=True
      )(state.params)
      running = running._replace(batch_stats=batch_stats)
      if state.teacher_params is not None and keeps_statistics:
        teacher = state.teacher_variables | {
          "batch_stats": running.teacher_batch_stats
        }
        _, statistics = _forward_train(
          model,
          teacher,
          images,
          keys["teacher"],
          dropout=options.teacher_dropout,
        )
        running = running._replace(teacher_batch_stats=statistics)
      metrics = {"loss/supervised": total, "loss/total": total}
      return running, (grads, metrics)

    running, grads, metrics = accumulate.accumulate(
      compute,
      update.Running.of(state),
      batch,
      _streams(base_rng, state.step),
      options.accumulate_steps,
    )
    metrics["grad/norm"] = optax.tree.norm(grads)
    after = update.descend(state, running, tx, grads)
    return update.apply_if_finite(state, after, _checked(metrics)), metrics

  return step


def _strong_view(
  model: nn.Module,
  teacher: Mapping[str, Any],
  images: jax.Array,
  key: jax.Array,
  options: step_options.StepOptions,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Strongly augmented images, pseudo-labels int32 and confidence.

  The teacher in eval mode labels the weak view, of which the strong view is
  made with its labels. Shapes [B, H, W, 3], [B, H, W] and [B, H, W].
  """
  logits = inference.make_net(model, teacher)(images)
  labels = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  confidence = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
  return mixing.strong_augment(
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
  timeline: timeline_lib.Timeline,
  options: step_options.StepOptions,
) -> Step:
  """A step on labelled and unlabelled images.

  Args:
    model: the network, with a representation head if `options.contrast`.
    tx: the optimiser.
    timeline: of the run.
    options: of the step.

  Returns:
    step(state, batch, base_rng) -> (state, metrics); metrics are scalars but
    for `bank/fill` and `contrast/anchors`, which are [K]. Where the loss or the
    gradient is not finite the state counts on and is else the same.

  Reference: paper section 3, algorithm 1; `train_semi.py` (train).
  """

  def step(state, batch, base_rng):
    progress = timeline.progress(state.step)
    percents = {
      "drop_percent": timeline_lib.drop_percent(progress, options.drop_percent),
      "unreliable_percent": timeline_lib.unreliable_percent(
        progress, options.unreliable_percent
      ),
    }
    teacher = train_state.teacher_at_start(
      state,
      is_first=state.step == timeline.first_semi_step,
      copy_statistics=options.teacher_batch_stats == "ema",
    )
    state = state.replace(
      teacher_params=teacher["params"],
      teacher_batch_stats=teacher["batch_stats"],
    )
    running, grads, metrics = accumulate.accumulate(
      functools.partial(_semi_gradients, model, options, percents, state),
      update.Running.of(state),
      batch,
      _streams(base_rng, state.step),
      options.accumulate_steps,
    )

    # SGD, then the teacher follows.
    decay = timeline_lib.ema_decay(
      state.step,
      timeline,
      max_decay=options.ema_decay,
      first_epoch=options.teacher_first_epoch,
    )
    after = update.move_teacher(
      update.descend(state, running, tx, grads),
      decay,
      with_statistics=options.teacher_batch_stats == "ema",
    )
    metrics |= {f"semi/{name}": value for name, value in percents.items()}
    metrics |= {"semi/ema_decay": decay, "grad/norm": optax.tree.norm(grads)}
    new_state = update.apply_if_finite(state, after, _checked(metrics))
    if options.contrast is not None:
      metrics["bank/fill"] = new_state.memory_bank.fill
    return new_state, metrics

  return step


class _Lesson(NamedTuple):
  """What the student learns from, as the teacher prepared it.

  Attributes:
    images: [B_l + B_u, H, W, 3] normalised, labelled and strongly augmented
      unlabelled ones, joined.
    labels_l: [B_l, H, W] int32.
    labels_u: [B_u, H, W] int32, pseudo-labels.
    split: of the unlabelled pixels.
    plan: of the contrastive loss; None without.
  """

  images: jax.Array
  labels_l: jax.Array
  labels_u: jax.Array
  split: partition.Partition
  plan: contrast.Plan | None


def _prepare_lesson(
  model: nn.Module,
  options: step_options.StepOptions,
  percents: Mapping[str, jax.Array],
  teacher_params: Any,
  running: update.Running,
  batch: Batch,
  keys: Mapping[str, jax.Array],
) -> tuple[_Lesson, update.Running, Metrics]:
  """The teacher's part: pseudo-labels, their partition, anchors, negatives."""
  labels_l = batch["label_l"].astype(jnp.int32)
  batch_l, size = labels_l.shape[0], labels_l.shape[1:]
  teacher = {
    "params": teacher_params,
    "batch_stats": running.teacher_batch_stats,
  }

  # The teacher labels the weak view; the strong view is made of it.
  images_u, labels_u, confidence = _strong_view(
    model,
    teacher,
    normalize.normalize(batch["image_u"]),
    keys["augment"],
    options,
  )
  images = interleave.join(normalize.normalize(batch["image_l"]), images_u)

  # The teacher in train mode, on what the student sees: which unlabelled
  # pixels are to be trusted?
  outputs, forward_stats = _forward_train(
    model, teacher, images, keys["teacher"], dropout=options.teacher_dropout
  )
  if options.teacher_batch_stats == "forward":
    running = running._replace(teacher_batch_stats=forward_stats)
  _, logits_u = interleave.part(outputs["logits"], batch_l)
  logits_u = resize.resize_bilinear(logits_u, size)
  valid_u = labels_u != IGNORE_LABEL
  split = partition.partition_by_entropy(
    percentile.compute_entropy(logits_u),
    valid_u,
    reliable=options.reliable,
    **percents,
  )
  metrics = partition.summarize(split, valid_u)
  metrics["semi/confidence"] = pixelwise.masked_mean(confidence, valid_u)

  # New keys enter the bank before anchors and negatives are drawn.
  plan = None
  if options.contrast is not None:
    feature_size = outputs["logits"].shape[1:3]
    pixels = contrast.label_pixels(
      labels_l, labels_u, split, feature_size, options.contrast
    )
    bank, plan = contrast.prepare(
      keys["contrast"], running.memory_bank, outputs, pixels, options.contrast
    )
    running = running._replace(memory_bank=bank)
    metrics |= plan.metrics
  return _Lesson(images, labels_l, labels_u, split, plan), running, metrics


def _semi_gradients(
  model: nn.Module,
  options: step_options.StepOptions,
  percents: Mapping[str, jax.Array],
  state: train_state.TrainState,
  running: update.Running,
  batch: Batch,
  keys: Mapping[str, jax.Array],
) -> tuple[update.Running, tuple[Any, Metrics]]:
  """The student's part, for `accumulate`."""
  lesson, running, metrics = _prepare_lesson(
    model, options, percents, state.teacher_params, running, batch, keys
  )

  def compute_loss(params):
    student = {"params": params, "batch_stats": running.batch_stats}
    outputs, batch_stats = _forward_train(
      model, student, lesson.images, keys["student"], dropout=True
    )
    losses = _semi_losses(outputs, lesson, options)
    return sum(losses.values()), (losses, batch_stats)

  (total, (losses, batch_stats)), grads = jax.value_and_grad(
    compute_loss, has_aux=True
  )(state.params)
  metrics |= {f"loss/{name}": value for name, value in losses.items()}
  metrics["loss/total"] = total
  return running._replace(batch_stats=batch_stats), (grads, metrics)


def _semi_losses(
  outputs: dict[str, jax.Array],
  lesson: _Lesson,
  options: step_options.StepOptions,
) -> dict[str, jax.Array]:
  """The student's weighted losses, from its outputs on both halves."""
  batch_l, size = lesson.labels_l.shape[0], lesson.labels_l.shape[1:]
  logits_l, logits_u = interleave.part(outputs["logits"], batch_l)
  outputs_l = {"logits": logits_l}
  if "aux" in outputs:
    outputs_l["aux"], _ = interleave.part(outputs["aux"], batch_l)
  logits_u = resize.resize_bilinear(logits_u, size)
  losses = {
    "supervised": _supervised_terms(outputs_l, lesson.labels_l, options),
    "unsupervised": options.unsupervised_weight
    * pixelwise.unsupervised_loss(logits_u, lesson.labels_u, lesson.split.kept),
  }
  if lesson.plan is not None:
    losses["contrastive"] = contrast.compute_loss(
      outputs["rep"], lesson.plan, options.contrast
    )
  return losses
