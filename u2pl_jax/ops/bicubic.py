"""Bicubic resizing of small tables as PyTorch does it, by two products."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Keys' kernel: PyTorch's bicubic interpolation has the first one without
# antialiasing, the second one with it.
_SHARPNESS = -0.75
_SHARPNESS_ANTIALIASED = -0.5


def _keys(x: np.ndarray, a: float) -> np.ndarray:
  """Keys' cubic convolution kernel at distances `x`, float64."""
  x = np.abs(x)
  near = (a + 2) * x**3 - (a + 3) * x**2 + 1
  far = a * (x**3 - 5 * x**2 + 8 * x - 4)
  return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@functools.cache
def matrix(size: int, target: int, offset: float) -> np.ndarray:
  """Weights of one axis without antialiasing.

  The code of DINOv2 hands PyTorch the factor (target + offset) / size, and
  PyTorch samples with that factor, not with the ratio of the sizes.

  Args:
    size: M, source positions.
    target: n, positions wanted.
    offset: added to `target` in the factor; 0 for none.

  Returns:
    float32 [target, size].

  Reference: torch.nn.functional.interpolate, mode "bicubic", align_corners
    False; `interpolate_pos_encoding` of DINOv2's vision_transformer.py.
  """
  if offset:
    step = np.float32(1 / ((target + offset) / size))
  else:
    step = np.float32(size) / np.float32(target)
  index = np.arange(target, dtype=np.float32) + np.float32(0.5)
  source = step * index - np.float32(0.5)
  low = np.floor(source)
  weights = np.zeros((target, size))
  rows = np.arange(target)
  for tap in range(-1, 3):
    column = np.clip(low.astype(np.int64) + tap, 0, size - 1)
    distance = (source - low).astype(np.float64) - tap
    np.add.at(weights, (rows, column), _keys(distance, _SHARPNESS))
  return weights.astype(np.float32)


@functools.cache
def antialiased_matrix(size: int, target: int) -> np.ndarray:
  """Weights of one axis with antialiasing, which sum to 1 in each row.

  Args:
    size: M, source positions.
    target: n, positions wanted.

  Returns:
    float32 [target, size].

  Reference: torch.nn.functional.interpolate, mode "bicubic", antialias True.
  """
  step = size / target
  stretch = max(step, 1.0)
  weights = np.zeros((target, size))
  for row in range(target):
    center = step * (row + 0.5)
    first = max(0, int(center - 2 * stretch + 0.5))
    last = min(size, int(center + 2 * stretch + 0.5))
    taps = np.arange(first, last)
    weight = _keys((taps + 0.5 - center) / stretch, _SHARPNESS_ANTIALIASED)
    weights[row, first:last] = weight / weight.sum()
  return weights.astype(np.float32)


def resize_table(
  table: jax.Array,
  size: tuple[int, int],
  *,
  offset: float = 0.0,
  antialias: bool = False,
) -> jax.Array:
  """Resizes a table of vectors.

  Args:
    table: [M, M', C] of any float type.
    size: (height, width) wanted.
    offset: see `matrix`; without antialiasing only.
    antialias: spread the kernel where the table shrinks.

  Returns:
    float32 [height, width, C].
  """
  rows, columns = (
    antialiased_matrix(n, target) if antialias else matrix(n, target, offset)
    for n, target in zip(table.shape[:2], size, strict=True)
  )
  return jnp.einsum(
    "hm,wn,mnc->hwc",
    rows,
    columns,
    table.astype(jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )
