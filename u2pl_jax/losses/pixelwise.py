"""Losses of single pixels: cross entropy, OHEM, and pseudo-labels."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.losses import class_weights, overlap
from u2pl_jax.ops import percentile, resize
from u2pl_jax.runtime import options

# (outputs of a network, labels [B, H, W]) -> [] float32.
SupervisedLoss = Callable[[Mapping[str, jax.Array], jax.Array], jax.Array]
# Of the classes, [K] float32; None for all alike.
Weights = jax.Array | np.ndarray | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions(options.Options):
  """Settings of the supervised loss."""

  SECTION: ClassVar[str] = "loss"

  # Of each pixel: cross entropy; online hard example mining; or focal loss,
  # which counts a pixel the less the surer the network is of its label.
  kind: str = options.setting("ce", choices=("ce", "ohem", "focal"))
  # Of this loss of pixels; 0 for Dice alone.
  pixel_weight: float = options.setting(1.0, minimum=0)
  # Of the Dice loss beside it; 0 for none.
  dice_weight: float = options.setting(0.0, minimum=0)
  # How much the pixels of each class count in the loss of pixels: a number for
  # each class, or "balanced", by the labeled images; () for all alike.
  class_weights: tuple[float | str, ...] = options.setting((), minimum=0)
  # A pixel's loss is multiplied by (1 - probability of its label) to this
  # power; of "focal".
  focal_gamma: float = options.setting(2.0, minimum=1)
  # Probability of the label up to which a pixel is hard; of "ohem".
  ohem_threshold: float = options.setting(0.7, minimum=0, maximum=1)
  # Pixels of the global batch that count at least; of "ohem".
  ohem_min_kept: int = options.setting(100_000, minimum=0)
  # Where the decoder has the auxiliary head.
  aux_weight: float = options.setting(0.4, minimum=0)

  def check(self):
    class_weights.check(self.class_weights)
    if not self.pixel_weight and not self.dice_weight:
      raise ValueError(
        "loss.pixel_weight=0 and loss.dice_weight=0 leave no supervised loss;"
        " set one of them"
      )


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


def weighted_mean(
  values: jax.Array,
  mask: jax.Array,
  labels: jax.Array,
  weights: Weights,
) -> jax.Array:
  """Mean where `mask` holds, each pixel by the weight of its class.

  Args:
    values: float32, any shape.
    mask: bool, the same shape; false where there is no label.
    labels: int32, the same shape.
    weights: of the classes, >= 0; None for all alike.

  Returns:
    [] float32; 0 where the weights sum to 0.

  Reference: torch.nn.CrossEntropyLoss, `weight`.
  """
  if weights is None:
    return masked_mean(values, mask)
  each = jnp.where(mask, jnp.take(weights, labels, mode="clip"), 0.0)
  total = jnp.sum(each)
  values = jnp.where(mask, values, 0.0)
  return jnp.sum(each * values) / jnp.where(total > 0, total, 1.0)


def cross_entropy(
  logits: jax.Array, labels: jax.Array, weights: Weights = None
) -> jax.Array:
  """Mean cross entropy over the labeled pixels.

  Args:
    logits: [B, H, W, K] float32.
    labels: [B, H, W] int32, 255 ignored.
    weights: see `weighted_mean`.

  Returns:
    [] float32; 0 where every pixel is ignored.
  """
  losses = pixel_cross_entropy(logits, labels)
  return weighted_mean(losses, labels != IGNORE_LABEL, labels, weights)


def focal_loss(
  logits: jax.Array,
  labels: jax.Array,
  weights: Weights = None,
  *,
  gamma: float = 2.0,
) -> jax.Array:
  """Mean of (1 - p)^gamma (-log p), p the probability of a pixel's label.

  Args:
    logits: [B, H, W, K] float32.
    labels: [B, H, W] int32, 255 ignored.
    weights: see `weighted_mean`.
    gamma: at least 1, or else the gradient where p = 1 is not finite.

  Returns:
    [] float32; 0 where every pixel is ignored.

  Reference: Lin et al. 2017 (arXiv 1708.02002), eq. 4, for softmax.
  """
  losses = pixel_cross_entropy(logits, labels)
  losses *= (-jnp.expm1(-losses)) ** gamma
  return weighted_mean(losses, labels != IGNORE_LABEL, labels, weights)


def ohem_cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weights: Weights = None,
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
    weights: see `weighted_mean`; which pixels are hard does not depend on it.
    threshold: probability in [0, 1].
    min_kept: pixels of the whole batch kept at least; 0 for plain cross
      entropy.

  Returns:
    [] float32; 0 where every pixel is ignored.

  Reference: `u2pl/utils/loss_helper.py` (OhemCrossEntropy2dTensor).
  """
  if min_kept == 0:
    return cross_entropy(logits, labels, weights)
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
  kept = jnp.where(enough, hard, valid)
  return weighted_mean(losses, kept, labels, weights)


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


def make_supervised_loss(
  settings: LossOptions, weights: Weights = None
) -> SupervisedLoss:
  """The loss that the config asks for, of a network's outputs and labels.

  Args:
    settings: of the loss.
    weights: of the classes, see `class_weights.choose`; None for all alike.
  """

  def of_prediction(logits: jax.Array, labels: jax.Array) -> jax.Array:
    logits = resize.resize_bilinear(logits, labels.shape[1:])
    terms = []
    if settings.pixel_weight:
      pixel_loss = _pixel_loss(settings)
      terms.append(settings.pixel_weight * pixel_loss(logits, labels, weights))
    if settings.dice_weight:
      terms.append(settings.dice_weight * overlap.dice_loss(logits, labels))
    return sum(terms)

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
    total = of_prediction(outputs["logits"], labels)
    if "aux" in outputs:
      total += settings.aux_weight * of_prediction(outputs["aux"], labels)
    return total

  return supervised_loss


def _pixel_loss(settings: LossOptions) -> Callable[..., jax.Array]:
  """(logits, labels, weights) -> [] float32."""
  return {
    "ce": cross_entropy,
    "focal": functools.partial(focal_loss, gamma=settings.focal_gamma),
    "ohem": functools.partial(
      ohem_cross_entropy,
      threshold=settings.ohem_threshold,
      min_kept=settings.ohem_min_kept,
    ),
  }[settings.kind]
