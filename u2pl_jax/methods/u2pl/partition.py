"""Reliable and unreliable pixels, by the entropy of the prediction."""

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax.ops import percentile

RELIABLE_RULES = ("below_unreliable", "lowest")


@flax.struct.dataclass
class Partition:
  """How the pixels of a batch may teach.

  Attributes:
    kept: [B, H, W] bool, pixels whose pseudo-label enters the unsupervised
      loss.
    reliable: [B, H, W] bool, pixels that may be anchors and positives.
    unreliable: [B, H, W] bool, pixels that may be negatives.
    drop_threshold, reliable_threshold, unreliable_threshold: [] float32, the
      entropies at which the three begin or end, nats.
  """

  kept: jax.Array
  reliable: jax.Array
  unreliable: jax.Array
  drop_threshold: jax.Array
  reliable_threshold: jax.Array
  unreliable_threshold: jax.Array


def partition_by_entropy(
  entropy: jax.Array,
  valid: jax.Array,
  *,
  drop_percent: jax.Array,
  unreliable_percent: jax.Array,
  reliable: str,
) -> Partition:
  """Splits unlabeled pixels into reliable and unreliable ones.

  Args:
    entropy: [B, H, W] float32, of the teacher's train-mode prediction, nats.
    valid: [B, H, W] bool, pixels that have a pseudo-label.
    drop_percent: [] in [0, 100]; pixels at or above this percentile of the
      entropy lose their pseudo-label.
    unreliable_percent: [] in [0, 100], alpha_t: the share of unreliable
      pixels.
    reliable: "below_unreliable", every pixel at or below the percentile
      100 - alpha_t, the paper's gamma_t (eq. 6, 7), unreliable being those
      strictly above it; or "lowest", the published code's: only the surest
      alpha_t percent are reliable (with ties more, at alpha_t = 0 the single
      surest pixel), and unreliable are those at or above percentile
      100 - alpha_t.

  Returns:
    A `Partition`.

  Raises:
    ValueError: `reliable` is neither of the two.

  Reference: paper eq. 5 to 7; `train_semi.py` (train), where
  `low_entropy_threshold` is a percentile.
  """
  if reliable not in RELIABLE_RULES:
    raise ValueError(
      f"semi.reliable={reliable!r}: expected one of {RELIABLE_RULES}"
    )
  percents = [drop_percent, 100.0 - unreliable_percent]
  if reliable == "lowest":
    percents.append(unreliable_percent)
  dropped_from, gamma, *lowest = percentile.masked_percentiles(
    entropy, valid, jnp.stack(percents)
  )
  if reliable == "lowest":
    (reliable_threshold,) = lowest
    is_unreliable = entropy >= gamma
  else:
    reliable_threshold = gamma
    is_unreliable = entropy > gamma
  return Partition(
    kept=valid & (entropy < dropped_from),
    reliable=valid & (entropy <= reliable_threshold),
    unreliable=valid & is_unreliable,
    drop_threshold=dropped_from,
    reliable_threshold=reliable_threshold,
    unreliable_threshold=gamma,
  )


def summarize(split: Partition, valid: jax.Array) -> dict[str, jax.Array]:
  """Metrics: thresholds in nats, and shares of the valid pixels in [0, 1].

  Args:
    split: of the batch.
    valid: [B, H, W] bool, pixels that have a pseudo-label.
  """
  count = jnp.maximum(jnp.sum(valid, dtype=jnp.int32), 1)
  return {
    "semi/drop_threshold": split.drop_threshold,
    "semi/reliable_threshold": split.reliable_threshold,
    "semi/unreliable_threshold": split.unreliable_threshold,
    "semi/kept_fraction": jnp.sum(split.kept) / count,
    "semi/reliable_fraction": jnp.sum(split.reliable) / count,
  }
