"""Picking pixels of each class under fixed shapes.

How many pixels satisfy a rule is known only to the data; shapes are not. So
every pick is phrased as "the r-th pixel of class c for which the rule holds":
ranks have a fixed shape, and what is past the count is masked by the caller.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# (key, count [K], shape) -> ranks [K, *shape]; see `draw_ranks`.
Draw = Callable[[jax.Array, jax.Array, tuple[int, ...]], jax.Array]


def select_rows(
  features: jax.Array, mask: jax.Array, ranks: jax.Array
) -> jax.Array:
  """Rows of `features` at the r-th true entries of each class's mask.

  Counting goes image by image, so that devices that hold different images
  exchange their counts alone, and then the rows that were picked.

  Args:
    features: [B, P, D], of the P pixels of each image.
    mask: [B, P, K] bool, which pixels belong to each class's set.
    ranks: [K, R] int32, 0 for a class's first true pixel. A rank at or past
      the class's count gives an arbitrary row.

  Returns:
    [K, R, D]; differentiable in `features`.
  """
  reached = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
  of_image = reached[:, -1:]
  reached += jnp.cumsum(of_image, axis=0) - of_image
  find = jax.vmap(jnp.searchsorted, in_axes=(1, 0))
  pixels = find(reached.reshape(-1, mask.shape[-1]), ranks + 1)  # [K, R]
  rows = features.reshape(-1, features.shape[-1])
  return jnp.take(rows, pixels, axis=0, mode="clip")


def draw_ranks(key: jax.Array, count: jax.Array, shape: tuple[int, ...]):
  """Ranks drawn uniformly with replacement, for each class.

  Args:
    key: PRNG key.
    count: [K] int32, how many there are to draw from.
    shape: the shape of one class's draw.

  Returns:
    [K, *shape] int32 in [0, count); 0 where the count is 0.
  """
  limit = jnp.maximum(count, 1).reshape(count.shape + (1,) * len(shape))
  return jax.random.randint(key, count.shape + shape, 0, limit)


def spread_ranks(key: jax.Array, count: jax.Array, cap: int):
  """At most `cap` different ranks of each class, each rank equally likely.

  With `count <= cap` these are all ranks, in order. Otherwise every
  (count / cap)-th one from a random start (systematic sampling): each rank is
  included with probability cap / count, none twice, in increasing order, and
  nothing has to be sorted or permuted.

  Args:
    key: PRNG key.
    count: [K] int32.
    cap: static size of the draw.

  Returns:
    ranks [K, cap] int32 and valid [K, cap] bool, of which the first
    min(count, cap) are true.
  """
  slot = jnp.arange(cap, dtype=jnp.int32)[None, :]
  count = count[:, None]
  # slot * count / cap in two parts: the whole one, exact in int32, makes the
  # ranks differ; float32 serves for the rest.
  whole, rest = count // cap, count % cap
  start = jax.random.uniform(key, count.shape)
  fraction = slot.astype(jnp.float32) * (rest / cap)
  offset = start * (count / cap)
  spread = slot * whole + jnp.floor(fraction + offset).astype(jnp.int32)
  ranks = jnp.where(count > cap, jnp.minimum(spread, count - 1), slot)
  return ranks, slot < count
