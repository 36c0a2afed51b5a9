"""The textures of generated scenes; see `synthetic`."""

import functools

import numpy as np


def draw_texture(
  rng: np.random.Generator, name: str, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
  """Draws the texture of a class.

  Args:
    rng: the only source of randomness.
    name: the name of the class.
    x, y: [size, size] coordinates of the pixels; the image has sides of 1.

  Returns:
    [size, size] in [0, 1].
  """
  size = len(x)
  angle = rng.uniform(0, np.pi)
  u = np.cos(angle) * x + np.sin(angle) * y
  v = np.cos(angle) * y - np.sin(angle) * x
  phase_u, phase_v = rng.uniform(0, 2 * np.pi, 2)
  if name == "clouds":
    return _octaves(rng, size, (3, 6, 12))
  if name == "meadow":
    return _octaves(rng, size, (24, 48))
  if name in ("planks", "crate"):
    frequency = rng.uniform(7, 12) if name == "planks" else rng.uniform(12, 18)
    stripes = np.sin(2 * np.pi * frequency * u + phase_u) > 0
    return 0.75 * stripes + 0.25 * _octaves(rng, size, (12, 48))
  if name in ("tiles", "star"):
    frequency = rng.uniform(5, 9) if name == "tiles" else rng.uniform(9, 14)
    waves = np.sin(2 * np.pi * frequency * u + phase_u) * np.sin(
      2 * np.pi * frequency * v + phase_v
    )
    return 0.75 * (waves > 0) + 0.25 * _octaves(rng, size, (12, 48))
  if name == "ball":
    return 0.8 * (0.5 + 2 * (u + 0.5 * v)).clip(0, 1) + 0.2 * _octaves(
      rng, size, (6, 12)
    )
  return _octaves(rng, size, (16, 32))


def _octaves(rng, size, cells):
  """Returns smooth noise on several scales, spread over [0, 1]."""
  total = sum(smooth_noise(rng, size, n) for n in cells) / len(cells)
  low, high = total.min(), total.max()
  return (total - low) / (high - low)


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
  """Returns [size, size] noise in [0, 1], blended between `cells` points."""
  weights = _blend_weights(size, cells)
  return weights @ rng.random((cells + 1, cells + 1)) @ weights.T


@functools.cache
def _blend_weights(size, cells):
  """Returns the matrix [size, cells + 1] of linear interpolation."""
  position = (np.arange(size) + 0.5) / size * cells
  return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells + 1)))
