"""Entropy of predictions, exact percentiles, reliable and unreliable pixels.

The percentiles are exact order statistics with linear interpolation, as
`numpy.percentile` gives them, found without a sort: non-negative and negative
floats alike map to integers of the same order, and 32 rounds of counting fix
the bits of the wanted value one by one. Counting shards over devices (a sum
of integers); a sort would not.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

RELIABLE_RULES = ("below_unreliable", "lowest")

_SIGN_BIT = np.uint32(0x80000000)


def compute_entropy(logits: jax.Array) -> jax.Array:
  """Entropy of the softmax, H = -sum_c p_c log(p_c + 1e-10), in nats.

  Args:
    logits: [..., K] float32.

  Returns:
    [...] float32 in [0, log K].

  Reference: paper eq. 4; `train_semi.py` (train) in the published code.
  """
  probs = jax.nn.softmax(logits, axis=-1)
  return -jnp.sum(probs * jnp.log(probs + 1e-10), axis=-1)


def _ordered_bits(values: jax.Array) -> jax.Array:
  """Maps float32 to uint32 so that the order of the numbers is kept."""
  bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
  return jnp.where(bits >= _SIGN_BIT, ~bits, bits | _SIGN_BIT)


def _from_ordered_bits(ordered: jax.Array) -> jax.Array:
  bits = jnp.where(ordered >= _SIGN_BIT, ordered ^ _SIGN_BIT, ~ordered)
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


def kth_smallest(values: jax.Array, mask: jax.Array, k: jax.Array) -> jax.Array:
  """The k-th smallest of the masked values, for several k at once.

  Args:
    values: float32, any shape, without NaN where `mask` is true.
    mask: bool, the shape of `values`; which of them count.
    k: [R] int32, 0 for the smallest; below the number of masked values, else
      the result is NaN.

  Returns:
    [R] float32, elements of `values`.
  """
  ordered = jnp.where(mask, _ordered_bits(values), jnp.uint32(0xFFFFFFFF))
  ordered = ordered.reshape(-1)

  def fix_one_bit(i, found):
    candidate = found | (_SIGN_BIT >> i.astype(jnp.uint32))
    smaller = jnp.sum(
      ordered[None, :] < candidate[:, None], axis=1, dtype=jnp.int32
    )
    return jnp.where(smaller <= k, candidate, found)

  found = jnp.zeros(k.shape, jnp.uint32)
  return _from_ordered_bits(jax.lax.fori_loop(0, 32, fix_one_bit, found))


def masked_percentiles(
  values: jax.Array, mask: jax.Array, percents: jax.Array | Sequence[float]
) -> jax.Array:
  """Percentiles of the masked values with linear interpolation.

  Equals `numpy.percentile(values[mask], percents)`. The fractional rank is
  formed from its whole part in integers, so it is right to 0.01 of a rank
  even among ten million pixels, where float32 alone would be half a rank off
  (for the percent as float32 holds it).

  Args:
    values: float32, any shape.
    mask: bool, the shape of `values`; which of them count.
    percents: [R] in [0, 100]; may be traced.

  Returns:
    [R] float32; 0 where no value counts.
  """
  percents = jnp.asarray(percents, jnp.float32)
  count = jnp.sum(mask, dtype=jnp.int32)
  last = jnp.maximum(count - 1, 0)
  whole, part = last // 100, (last % 100).astype(jnp.float32)
  whole_percents = jnp.floor(percents)
  rank = whole_percents.astype(jnp.int32) * whole
  rest = (percents - whole_percents) * whole + percents * part / 100
  rank = rank + jnp.floor(rest).astype(jnp.int32)
  fraction = rest - jnp.floor(rest)

  ranks = jnp.concatenate([rank, rank + 1])
  found = kth_smallest(values, mask, jnp.clip(ranks, 0, last))
  lower, upper = jnp.split(found, 2)
  result = lower + (upper - lower) * fraction
  return jnp.where(count > 0, result, 0.0)


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
  """Splits unlabelled pixels into reliable and unreliable ones.

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
  percents = jnp.stack(
    [drop_percent, unreliable_percent, 100.0 - unreliable_percent]
  )
  dropped_from, lowest, gamma = masked_percentiles(entropy, valid, percents)
  if reliable == "below_unreliable":
    reliable_threshold = gamma
    is_unreliable = entropy > gamma
  else:
    reliable_threshold = lowest
    is_unreliable = entropy >= gamma
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
