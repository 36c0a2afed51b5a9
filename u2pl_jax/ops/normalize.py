"""Colors as networks see them, such as ImageNet's mean 0 and deviation 1."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)
# What images are padded with: uint8 RGB, at most 0.01 from 0 once normalized.
MEAN_COLOR = tuple(map(round, MEAN_RGB))


def normalize(
  images: jax.Array,
  mean: Sequence[float] = MEAN_RGB,
  std: Sequence[float] = STD_RGB,
) -> jax.Array:
  """uint8 RGB [..., 3] to float32 (images - mean) / std; ImageNet's if unsaid.

  Args:
    images: uint8 RGB, [..., 3].
    mean: of red, green and blue, in 0..255.
    std: deviation of each, in 0..255.
  """
  mean, std = np.float32(mean), np.float32(std)
  return (images.astype(jnp.float32) - mean) / std


def denormalize(
  images: jax.Array,
  mean: Sequence[float] = MEAN_RGB,
  std: Sequence[float] = STD_RGB,
) -> jax.Array:
  """The uint8 RGB [..., 3] nearest to what `normalize` made `images` of.

  Args:
    images: float32, normalized, [..., 3].
    mean, std: as in `normalize`.
  """
  levels = images * np.float32(std) + np.float32(mean)
  return jnp.clip(jnp.round(levels), 0, 255).astype(jnp.uint8)
