"""Cross entropy against the pseudo-labels that survive the entropy test."""

import jax
import jax.numpy as jnp

from u2pl_jax.losses import supervised


def unsupervised_loss(
  logits: jax.Array, pseudo_labels: jax.Array, kept: jax.Array
) -> jax.Array:
  """Mean over the kept pixels, times B*H*W / kept pixels.

  Args:
    logits: [B, H, W, K] float32, the student's, at full size.
    pseudo_labels: [B, H, W] int32, 255 where there is none.
    kept: [B, H, W] bool, pixels whose pseudo-label is trusted.

  Returns:
    [] float32; 0 where none is kept.

  Reference: paper eq. 3; `loss_helper.py` (compute_unsupervised_loss).
  """
  losses = supervised.pixel_cross_entropy(logits, pseudo_labels)
  count = jnp.maximum(jnp.sum(kept, dtype=jnp.int32), 1)
  return supervised.masked_mean(losses, kept) * (kept.size / count)
