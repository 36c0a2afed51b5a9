"""Entropy of predictions, and exact percentiles of masked values.

The percentiles are exact order statistics with linear interpolation, as
`numpy.percentile` gives them, found without a sort: non-negative and negative
floats alike map to integers of the same order, and 32 rounds of counting fix
the bits of the wanted value one by one. Counting shards over devices (a sum
of integers); a sort would not.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

_SIGN_BIT = np.uint32(0x80000000)


def compute_entropy(logits: jax.Array) -> jax.Array:
  """Entropy of the softmax, H = -sum_c p_c log(p_c + 1e-10), in nats.

  Args:
    logits: [..., K] float32.

  Returns:
    [...] float32 in [0, log K].

  Reference: paper eq. 4; `train_semi.py` (train) in the published code.
  """
  # log sum e^x - sum p x, as sum p = 1: one logarithm a pixel, not K. What
  # 1e-10 adds to p is K 1e-10 nats in all, less than float32 can tell.
  logits = logits - jnp.max(logits, axis=-1, keepdims=True)
  exps = jnp.exp(logits)
  total = jnp.sum(exps, axis=-1)
  return jnp.log(total) - jnp.sum(exps * logits, axis=-1) / total


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
  return _from_ordered_bits(_find_ranks(_order(values, mask), k))


def _order(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Masked values as uint32 in their order, all others behind them, [N]."""
  ordered = jnp.where(mask, _ordered_bits(values), jnp.uint32(0xFFFFFFFF))
  return ordered.reshape(-1)


def _find_ranks(ordered: jax.Array, k: jax.Array) -> jax.Array:
  """The elements of ranks `k`, uint32 [R]."""

  def fix_one_bit(i, found):
    candidate = found | (_SIGN_BIT >> i.astype(jnp.uint32))
    smaller = jnp.sum(
      ordered[None, :] < candidate[:, None], axis=1, dtype=jnp.int32
    )
    return jnp.where(smaller <= k, candidate, found)

  return jax.lax.fori_loop(0, 32, fix_one_bit, jnp.zeros(k.shape, jnp.uint32))


def _find_next(ordered: jax.Array, found: jax.Array, k: jax.Array) -> jax.Array:
  """The elements of ranks `k`, of which `found` has those of `k` - 1 or `k`."""
  here = ordered[None, :] <= found[:, None]
  count = jnp.sum(here, axis=1, dtype=jnp.int32)
  above = jnp.min(jnp.where(here, jnp.uint32(0xFFFFFFFF), ordered), axis=1)
  return jnp.where(k < count, found, above)


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

  # A second search for the rank above would take as long as the first one.
  ordered = _order(values, mask)
  found = _find_ranks(ordered, jnp.clip(rank, 0, last))
  above = _find_next(ordered, found, jnp.clip(rank + 1, 0, last))
  lower, upper = _from_ordered_bits(found), _from_ordered_bits(above)
  result = lower + (upper - lower) * fraction
  return jnp.where(count > 0, result, 0.0)
