"""Which unlabeled image showed which class when it was last seen.

Reference for all: algorithm sections 5.1, 5.2 and 5.4; AEL section 3.2.
"""

import math

import jax
import jax.numpy as jnp

from u2pl_jax.methods.u2pl_ael import confidence as confidence_lib


def shown_classes(
  labels: jax.Array, num_classes: int, min_share: float
) -> jax.Array:
  """Whether an image shows a class on enough pixels, and on one at least.

  Args:
    labels: [B, H, W] int32, predicted.
    num_classes: K.
    min_share: of an image's pixels, in [0, 1].

  Returns:
    [B, K] bool.
  """
  pixels = labels[0].size
  is_class = labels[..., None] == jnp.arange(num_classes)
  count = jnp.sum(is_class, axis=(1, 2), dtype=jnp.int32)
  return count >= max(math.ceil(min_share * pixels), 1)


def write(
  present: jax.Array, positions: jax.Array, shown: jax.Array
) -> jax.Array:
  """The bank with the classes of some images written anew.

  Args:
    present: [K, N_u] bool.
    positions: [n] int32, places of the images in the unlabeled list. Of
      several entries for one image, the last one stays.
    shown: [n, K] bool.

  Returns:
    [K, N_u] bool.
  """
  order = jnp.arange(positions.size)
  is_same = positions[:, None] == positions[None, :]
  is_later = order[None, :] > order[:, None]
  is_last = ~jnp.any(is_same & is_later, axis=1)
  nowhere = present.shape[1]
  column = jnp.where(is_last, positions, nowhere)
  return present.at[:, column].set(shown.T, mode="drop")


def draw(
  key: jax.Array, confidence: jax.Array, present: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
  """Draws the class and the second image of each mixed image.

  Args:
    key: PRNG key.
    confidence: [K] float32.
    present: [K, N_u] bool.
    count: how many pairs to draw.

  Returns:
    classes [count] int32, the less sure ones more often; positions [count]
    int32, each of an image that shows the class, all equally likely, or of any
    image where none is known to.
  """
  key_class, key_image = jax.random.split(key)
  probability = confidence_lib.class_probability(confidence)
  classes = jax.random.categorical(
    key_class, jnp.log(probability), shape=(count,)
  )
  candidates = present[classes]
  candidates |= ~jnp.any(candidates, axis=1, keepdims=True)
  scores = jnp.where(candidates, 0.0, -jnp.inf)
  positions = jax.random.categorical(key_image, scores, axis=-1)
  return classes.astype(jnp.int32), positions.astype(jnp.int32)
