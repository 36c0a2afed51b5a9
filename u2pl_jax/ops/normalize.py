"""Colours as networks see them: ImageNet's mean 0 and deviation 1."""

import jax
import jax.numpy as jnp
import numpy as np

MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)
# What images are padded with: uint8 RGB, at most 0.01 from 0 once normalised.
MEAN_COLOR = tuple(map(round, MEAN_RGB))


def normalize(images: jax.Array) -> jax.Array:
  """uint8 RGB [..., 3] to float32 with ImageNet's mean 0 and deviation 1."""
  mean, std = np.float32(MEAN_RGB), np.float32(STD_RGB)
  return (images.astype(jnp.float32) - mean) / std
