"""Random boxes that an image takes from another one (CutMix).

A box is (y0, x0, y1, x1), int32, ends excluded; (0, 0, 0, 0) is none.

Reference: UniMatch dataset/transform.py, `obtain_cutmix_box`.
"""

import jax
import jax.numpy as jnp

# Boxes tried at once: more than most images need, so that few have to wait.
_TRIES = 16


def shape(
  share: jax.Array, ratio: jax.Array, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
  """Height and width of boxes, int32, that may be larger than the image.

  Args:
    share: of the image's area, float32.
    ratio: height / width, float32 of the same shape.
    size: (height, width) of the image.
  """
  area = share * (size[0] * size[1])
  height, width = jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)
  return height.astype(jnp.int32), width.astype(jnp.int32)


def draw(
  key: jax.Array,
  count: int,
  size: tuple[int, int],
  *,
  probability: float,
  area: tuple[float, float],
  max_ratio: float,
) -> jax.Array:
  """Draws one box for each image, or none.

  The share of the area is drawn once and is uniform. Ratio and corner are
  uniform too, and drawn again until the box fits.

  Args:
    key: PRNG key.
    count: B.
    size: (height, width) of the images.
    probability: that an image has a box.
    area: smallest and largest share of the area, in (0, 1).
    max_ratio: ratios height / width lie between its inverse and it.

  Returns:
    int32 [B, 4].
  """
  key_has, key_area, key_rest = jax.random.split(key, 3)
  has_box = jax.random.bernoulli(key_has, probability, (count,))
  share = jax.random.uniform(
    key_area, (count, 1), minval=area[0], maxval=area[1]
  )

  def try_again(state):
    turn, boxes, is_done = state
    ratio, top, left = jax.random.uniform(
      jax.random.fold_in(key_rest, turn), (3, count, _TRIES)
    )
    ratio = 1 / max_ratio + ratio * (max_ratio - 1 / max_ratio)
    height, width = shape(share, ratio, size)
    top, left = (
      jnp.minimum((place * side).astype(jnp.int32), side - 1)
      for place, side in zip((top, left), size, strict=True)
    )
    below, right = top + height, left + width
    fits = (below <= size[0]) & (right <= size[1])
    first = jnp.argmax(fits, axis=1)[:, None, None]
    tries = jnp.stack([top, left, below, right], axis=-1)
    found = jnp.take_along_axis(tries, first, axis=1)[:, 0]
    boxes = jnp.where(is_done[:, None], boxes, found)
    return turn + 1, boxes, is_done | jnp.any(fits, axis=1)

  none = jnp.zeros((count, 4), jnp.int32)
  _, boxes, _ = jax.lax.while_loop(
    lambda state: ~jnp.all(state[2]), try_again, (0, none, ~has_box)
  )
  return boxes


def inside(boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Where the boxes lie.

  Args:
    boxes: int32 [B, 4].
    size: (height, width) of the images.

  Returns:
    bool [B, height, width].
  """
  top, left, below, right = (boxes[:, i, None] for i in range(4))
  rows, columns = jnp.arange(size[0]), jnp.arange(size[1])
  in_rows = (rows >= top) & (rows < below)
  in_columns = (columns >= left) & (columns < right)
  return in_rows[:, :, None] & in_columns[:, None, :]


def paste(mask: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
  """`other` where the mask [B, H, W] holds, else `own`; [B, H, W, ...]."""
  return jnp.where(
    mask.reshape(mask.shape + (1,) * (own.ndim - mask.ndim)), other, own
  )
