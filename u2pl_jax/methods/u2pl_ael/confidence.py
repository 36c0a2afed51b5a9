"""How sure the student is of each class, and what follows from it.

Classes that it is less sure of are pasted more often and measured more often.

Reference for all: AEL eq. 4, 7, 9, 10; algorithm section 5.4.
"""

import jax
import jax.numpy as jnp

MEANS = ("image", "pixel")
ABSENT = ("keep", "zero")


def measure(
  logits: jax.Array, labels: jax.Array, *, mean: str
) -> tuple[jax.Array, jax.Array]:
  """The probability that a prediction gives each class where it is right.

  Args:
    logits: [B, H, W, K] float32, the student's.
    labels: [B, H, W] int32 in [0, K) or 255.
    mean: "pixel", over all pixels of a class in the batch; "image", over the
      images that show it, of the mean over each one's pixels (eq. 4).

  Returns:
    [K] float32 in [0, 1], 0 for a class without pixels; and [K] bool, the
    classes with pixels.

  Raises:
    ValueError: `mean` is neither of the two.
  """
  if mean not in MEANS:
    raise ValueError(f"ael.confidence_mean={mean!r}: expected one of {MEANS}")
  is_class = labels[..., None] == jnp.arange(logits.shape[-1])
  probs = jnp.where(is_class, jax.nn.softmax(logits, axis=-1), 0.0)
  total = jnp.sum(probs, axis=(1, 2))  # [B, K]
  count = jnp.sum(is_class, axis=(1, 2), dtype=jnp.int32)
  if mean == "image":
    total = total / jnp.maximum(count, 1)
    count = (count > 0).astype(jnp.int32)
  total, count = jnp.sum(total, axis=0), jnp.sum(count, axis=0)
  return total / jnp.maximum(count, 1), count > 0


def update(
  confidence: jax.Array,
  value: jax.Array,
  is_seen: jax.Array,
  *,
  momentum: float,
  absent: str,
) -> jax.Array:
  """The moving average of the confidences.

  Args:
    confidence: [K] float32, so far.
    value: [K] float32, of the batch.
    is_seen: [K] bool, the classes that the batch shows.
    momentum: in [0, 1], 0.999.
    absent: what a class that the batch does not show does: "keep" what it had,
      or move toward "zero", as in the published code.

  Raises:
    ValueError: `absent` is neither of the two.
  """
  if absent not in ABSENT:
    raise ValueError(f"ael.absent_class={absent!r}: expected one of {ABSENT}")
  moved = momentum * confidence + (1 - momentum) * value
  return moved if absent == "zero" else jnp.where(is_seen, moved, confidence)


def class_probability(
  confidence: jax.Array, *, power: float = 1.0, is_allowed: jax.Array = True
) -> jax.Array:
  """How likely each class is to be drawn: softmax((1 - confidence)^power).

  Args:
    confidence: [K] float32 in [0, 1].
    power: 1 for CutMix and, by the paper, copy-paste; 1/2 for copy-paste in
      the published code.
    is_allowed: [K] bool, the classes that may be drawn.

  Returns:
    [K] float32, which sums to 1.
  """
  unsure = jnp.maximum(1.0 - confidence, 0.0) ** power
  return jax.nn.softmax(jnp.where(is_allowed, unsure, -jnp.inf))


def keep_rate(confidence: jax.Array, beta: float) -> jax.Array:
  """s_c = ((1 - conf_c) / max_k (1 - conf_k))^beta, 1 for the least sure class.

  Args:
    confidence: [K] float32 in [0, 1].
    beta: of eq. 10.

  Returns:
    [K] float32 in [0, 1].
  """
  unsure = jnp.maximum(1.0 - confidence, 0.0)
  largest = jnp.max(unsure)
  share = jnp.where(largest > 0, unsure / jnp.where(largest > 0, largest, 1), 1)
  return share**beta
