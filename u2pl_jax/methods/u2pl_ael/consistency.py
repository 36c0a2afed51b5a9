"""Which pixels the student is asked to agree with its teacher on.

Reference: AEL eq. 10 to 13; algorithm section 5.5.
"""

import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.losses import pixelwise


def pixel_weights(
  logits: jax.Array,
  confidence: jax.Array,
  uniform: jax.Array,
  rate: jax.Array,
  *,
  gamma: float,
) -> jax.Array:
  """w = confidence^gamma, or 0 where the pixel is left out by chance.

  Classes that the student is sure of are left out more often.

  Args:
    logits: [B, H, W, K] float32, the student's.
    confidence: [B, H, W] float32, the teacher's largest probability.
    uniform: [B, H, W] float32 in [0, 1).
    rate: [K] float32, how often pixels that the student takes for each class
      are kept.
    gamma: of eq. 13.

  Returns:
    [B, H, W] float32, without gradient.
  """
  predicted = jnp.argmax(logits, axis=-1)
  is_kept = uniform > 1.0 - jnp.take(rate, predicted)
  return jax.lax.stop_gradient(jnp.where(is_kept, confidence**gamma, 0.0))


def compute_loss(
  logits: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  *,
  by: str,
  with_ignored: bool,
) -> jax.Array:
  """Weighted mean of the cross entropy.

  Args:
    logits: [B, H, W, K] float32, the student's.
    labels: [B, H, W] int32 in [0, K) or 255, the teacher's.
    weights: [B, H, W] float32, of `pixel_weights`.
    by: "batch", or "image" for the mean over images of each one's mean.
    with_ignored: whether the sum of the weights, by which is divided, counts
      pixels without a label too, as in the published code: then the loss
      shrinks with every one of them.

  Returns:
    [] float32; 0 where every pixel is ignored.
  """
  axes = (1, 2) if by == "image" else (0, 1, 2)
  losses = pixelwise.pixel_cross_entropy(logits, labels)
  counted = jnp.where((labels != IGNORE_LABEL) | with_ignored, weights, 0.0)
  total = jnp.sum(weights * losses, axis=axes)
  return jnp.mean(total / (jnp.sum(counted, axis=axes) + 1e-12))
