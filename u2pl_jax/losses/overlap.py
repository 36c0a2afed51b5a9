"""Dice: how far prediction and label of each class overlap."""

import jax
import jax.numpy as jnp
import optax

from u2pl_jax import IGNORE_LABEL

_NEVER = -1e9  # A logit whose probability is 0.


def dice_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """1 - Dice of each class over the whole batch, and of these the mean.

  With p the probability of a class and t its label, 0 or 1, Dice is
  (sum p t + 1) / (sum (p + t) / 2 + 1), sums over all labeled pixels: a class
  counts as much as any other, however few pixels it has, and with one that
  neither prediction nor labels show nothing is lost.

  Args:
    logits: [B, H, W, K] float32.
    labels: [B, H, W] int32, 255 ignored.

  Returns:
    [] float32 in [0, 1]; 0 where every pixel is ignored.

  Reference: Milletari et al. 2016 (arXiv 1606.04797); `optax.losses.dice_loss`.
  """
  num_classes = logits.shape[-1]
  # Pixels without a label are of one class more, which does not count.
  is_ignored = (labels == IGNORE_LABEL)[..., None]
  logits = jnp.concatenate(
    [
      jnp.where(is_ignored, _NEVER, logits),
      jnp.where(is_ignored, 0.0, _NEVER),
    ],
    axis=-1,
  )
  classes = jnp.where(is_ignored[..., 0], num_classes, labels)
  losses = optax.losses.dice_loss(
    logits,
    jax.nn.one_hot(classes, num_classes + 1),
    reduction="none",
    axis=tuple(range(labels.ndim)),
  )
  return jnp.mean(losses[:num_classes])
