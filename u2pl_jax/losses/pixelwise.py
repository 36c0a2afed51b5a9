"""Losses of single pixels: cross entropy, OHEM, and pseudo-labels."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.ops import percentile, resize
from u2pl_jax.runtime import options

# (outputs of a network, labels [B, H, W]) -> [] float32.
SupervisedLoss = Callable[[Mapping[str, jax.Array], jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions(options.Options):
  """Settings of the supervised loss."""

  SECTION: ClassVar[str] = "loss"

  # Cross entropy, or online hard example mining.
  kind: str = options.setting("ce", choices=("ce", "ohem"))
  ohem_threshold: float = options.setting(0.7, minimum=0, maximum=1)
  # Pixels of the global batch.
  ohem_min_kept: int = options.setting(100_000, minimum=0)
  # Where the decoder has the auxiliary head.
  aux_weight: float = options.setting(0.4, minimum=0)


def pixel_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Cross entropy of every pixel, 0 where there is no label.

  Args:
    logits: [..., K] float32.
    labels: [...] int32 in [0, K) or 255.

  Returns:
    [...] float32, nats.
  """
  valid = labels != IGNORE_LABEL
  # optax gives NaN for a label out of range, and NaN * 0 stays NaN.
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.where(valid, labels, 0)
  )
  return jnp.where(valid, losses, 0.0)


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean of `values` where `mask` holds; 0 where it holds nowhere."""
  count = jnp.sum(mask, dtype=jnp.int32)
  return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(count, 1)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Mean cross entropy over the labeled pixels.

  Args:
    logits: [B, H, W, K] float32.
    labels: [B, H, W] int32, 255 ignored.

  Returns:
    [] float32; 0 where every pixel is ignored.
  """
  return masked_mean(
    pixel_cross_entropy(logits, labels), labels != IGNORE_LABEL
  )


def ohem_cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  *,
  threshold: float = 0.7,
  min_kept: int = 100_000,
) -> jax.Array:
  """Cross entropy over the hard pixels (online hard example mining).

  A pixel is hard if the probability of its true class is at most `threshold`,
  or at most the `min_kept`-th smallest such probability if that is larger.
  With fewer than `min_kept` labeled pixels this is plain cross entropy.

  Args:
    logits: [B, H, W, K] float32.
    labels: [B, H, W] int32, 255 ignored.
    threshold: probability in [0, 1].
    min_kept: pixels of the whole batch kept at least; 0 for plain cross
      entropy.

  Returns:
    [] float32; 0 where every pixel is ignored.

  Reference: `u2pl/utils/loss_helper.py` (OhemCrossEntropy2dTensor).
  """
  if min_kept == 0:
    return cross_entropy(logits, labels)
  valid = labels != IGNORE_LABEL
  losses = pixel_cross_entropy(logits, labels)
  true_probs = jnp.where(valid, jnp.exp(-losses), 1.0)
  true_probs = jax.lax.stop_gradient(true_probs)
  rank = jnp.asarray([min(min_kept, true_probs.size) - 1])
  # Ignored pixels count as probability 1 here, as in the published code.
  everywhere = jnp.ones_like(valid)
  smallest = percentile.kth_smallest(true_probs, everywhere, rank)[0]
  hard = valid & (true_probs <= jnp.maximum(smallest, threshold))
  enough = jnp.sum(valid, dtype=jnp.int32) >= min_kept
  return masked_mean(losses, jnp.where(enough, hard, valid))


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
  losses = pixel_cross_entropy(logits, pseudo_labels)
  count = jnp.maximum(jnp.sum(kept, dtype=jnp.int32), 1)
  return masked_mean(losses, kept) * (kept.size / count)


def make_supervised_loss(settings: LossOptions) -> SupervisedLoss:
  """The loss that the config asks for, of a network's outputs and labels."""
  if settings.kind == "ce":
    pixel_loss = cross_entropy
  else:
    pixel_loss = functools.partial(
      ohem_cross_entropy,
      threshold=settings.ohem_threshold,
      min_kept=settings.ohem_min_kept,
    )

  def supervised_loss(
    outputs: Mapping[str, jax.Array], labels: jax.Array
  ) -> jax.Array:
    """Of the main and, where there is one, the auxiliary prediction.

    Args:
      outputs: float32 `logits` and perhaps `aux`, each [B, h, w, K].
      labels: [B, H, W] int32, 255 ignored.

    Returns:
      [] float32.
    """
    size = labels.shape[1:]
    total = pixel_loss(resize.resize_bilinear(outputs["logits"], size), labels)
    if "aux" in outputs:
      aux = resize.resize_bilinear(outputs["aux"], size)
      total += settings.aux_weight * pixel_loss(aux, labels)
    return total

  return supervised_loss
