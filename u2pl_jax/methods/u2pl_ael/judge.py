"""The student's part of a step: confidences, weights, and losses.

Reference: AEL eq. 2, 4, 7, 10 to 13; U2PL eq. 1, 8; algorithm sections 5.4 and
5.5.
"""

import jax
import jax.numpy as jnp

from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import contrast, review
from u2pl_jax.methods.u2pl_ael import confidence, consistency, setup, targets
from u2pl_jax.methods.u2pl_ael import memory as memory_lib
from u2pl_jax.ops import boxes, resize


def observe(
  memory: memory_lib.Memory,
  outputs: tuple[method.Outputs, ...],
  lesson: method.Lesson,
  *,
  given: setup.Setup,
) -> tuple[method.Lesson, memory_lib.Memory, method.Metrics]:
  """The confidences move; then it is known which pixels count."""
  ael, before = given.ael, lesson.targets
  logits_l, logits_u = _full_size(outputs, before)
  value, is_seen = confidence.measure(
    logits_l, before.labels, mean=ael.confidence_mean
  )
  confidences = confidence.update(
    memory.confidence,
    value,
    is_seen,
    momentum=ael.confidence_momentum,
    absent=ael.absent_class,
  )
  rate = confidence.keep_rate(confidences, ael.beta)

  def weigh(side: targets.Side, logits: jax.Array) -> targets.Side:
    weights = consistency.pixel_weights(
      logits, side.confidence, side.uniform, rate, gamma=ael.gamma
    )
    return side.replace(weights=weights)

  after = before.replace(
    labeled=weigh(before.labeled, logits_l),
    mixed=weigh(before.mixed, logits_u),
  )
  metrics = {
    "classes/confidence": confidences,
    "ael/counted_l": jnp.mean(after.labeled.weights > 0),
    "ael/counted_u": jnp.mean(after.mixed.weights > 0),
  }
  memory = memory.replace(confidence=confidences)
  return lesson.replace(targets=after), memory, metrics


def compute_losses(
  outputs: tuple[method.Outputs, ...],
  lesson: method.Lesson,
  *,
  given: setup.Setup,
) -> method.Metrics:
  """The student's losses, from its passes of labeled and mixed images."""
  ael, wanted = given.ael, lesson.targets
  losses = {
    "supervised": given.parts.supervised_loss(outputs[0], wanted.labels)
  }
  sides = (
    ("l", wanted.labeled, ael.consistency_weight_l, ael.normalize_l_by),
    ("u", wanted.mixed, ael.consistency_weight_u, ael.normalize_u_by),
  )
  full_size = _full_size(outputs, wanted)
  for (name, side, weight, by), logits in zip(sides, full_size, strict=True):
    if weight:
      losses[f"consistency_{name}"] = weight * consistency.compute_loss(
        logits,
        side.labels,
        side.weights,
        by=by,
        with_ignored=ael.normalize_ignored,
      )
  if wanted.plan is not None:
    rep = given.halves.join(outputs[0]["rep"], outputs[1]["rep"])
    losses["contrastive"] = contrast.compute_loss(
      rep, wanted.plan, given.contrast
    )
  return losses


def compare(
  lesson: method.Lesson, truth: method.Truth, *, given: setup.Setup
) -> method.Review:
  """What mixed images were taught as, beside what was mixed as they were."""
  wanted = lesson.targets
  inside = boxes.inside(wanted.boxes, wanted.mixed.labels.shape[1:])
  return review.compare(
    wanted.mixed.labels,
    wanted.mixed.weights > 0,
    boxes.paste(inside, truth["label_u"], truth["label_u2"]),
    wanted.plan,
    num_labeled=len(wanted.labels),
    halves=given.halves,
  )


def _full_size(
  outputs: tuple[method.Outputs, ...], wanted: targets.Targets
) -> list[jax.Array]:
  """The student's logits [B, H, W, K] of labeled and of mixed images."""
  size = wanted.labels.shape[1:]
  return [resize.resize_bilinear(each["logits"], size) for each in outputs]
