"""Where the second image of a mixed image is pasted into the first one.

Reference for all: algorithm section 5.4; AEL section 3.2.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.ops import components


def random_box(uniform: jax.Array, size: tuple[int, int]) -> jax.Array:
  """A box of half the image's area, f of its height and 1 / (2 f) of its width.

  Args:
    uniform: [3] float32 in [0, 1): of f = (1/2)^u, of the top and of the left
      side.
    size: height and width of the image, pixels.

  Returns:
    [4] int32: first row, first column, and row and column after the last ones.

  Reference: `init_cutmix` of the published code.
  """
  height, width = size
  share = jnp.exp(uniform[0] * math.log(0.5))
  extent = jnp.round(jnp.stack([height * share, width * 0.5 / share]))
  corner = jnp.round((jnp.array(size, jnp.float32) - extent) * uniform[1:])
  return jnp.concatenate([corner, corner + extent]).astype(jnp.int32)


def large_components(
  labels: jax.Array, class_id: jax.Array, min_share: float
) -> tuple[jax.Array, jax.Array]:
  """The components of a class that a box may be put around.

  Args:
    labels: [H, W] int32, predicted for the second image.
    class_id: [] int32.
    min_share: of the image's pixels, which a component must exceed.

  Returns:
    [H, W] int32, of `components.label_components`; and [H * W] bool, true at
    the first pixels of those that are large enough. There is none where every
    pixel is of the class, as in the published code, which then takes the class
    for the background.
  """
  mask = labels == class_id
  found = components.label_components(mask)
  areas = components.component_areas(found)
  is_large = areas > math.floor(min_share * labels.size)
  return found, is_large & ~jnp.all(mask)


def choose_box(
  key: jax.Array, labels: jax.Array, class_id: jax.Array, min_share: float
) -> jax.Array:
  """A box around a large component of a class, or a random one of half area.

  Args:
    key: PRNG key.
    labels: [H, W] int32, predicted for the second image.
    class_id: [] int32.
    min_share: see `large_components`; each of these is equally likely.

  Returns:
    [4] int32: first row, first column, and row and column after the last ones.
  """
  key_which, key_random = jax.random.split(key)
  found, is_large = large_components(labels, class_id, min_share)
  count = jnp.cumsum(is_large, dtype=jnp.int32)
  rank = jax.random.randint(key_which, (), 0, jnp.maximum(count[-1], 1))
  first = jnp.searchsorted(count, rank + 1)
  around = components.bounding_box(found == first)
  anywhere = random_box(jax.random.uniform(key_random, (3,)), labels.shape)
  return jnp.where(count[-1] > 0, around, anywhere)


_FRAME = (255, 255, 255), (0, 0, 0)  # Outside in, visible on any picture.


def draw(first: np.ndarray, second: np.ndarray, box: np.ndarray) -> np.ndarray:
  """A mixed image with the frame of its box, for people.

  Args:
    first, second: uint8 [H, W, 3].
    box: [4] int32.

  Returns:
    uint8 [H, W, 3].
  """
  top, left, bottom, right = map(int, box)
  mixed = np.array(first)
  for inset, color in enumerate(_FRAME):
    mixed[top + inset : bottom - inset, left + inset : right - inset] = color
  inner = tuple(
    slice(start + len(_FRAME), stop - len(_FRAME))
    for start, stop in ((top, bottom), (left, right))
  )
  mixed[inner] = second[inner]
  return mixed
