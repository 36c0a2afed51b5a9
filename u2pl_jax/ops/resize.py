"""Bilinear and nearest resizing that agree with PyTorch's."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@functools.cache
def _bilinear_matrix(
  in_size: int, out_size: int, align_corners: bool
) -> np.ndarray:
  """The float32 [out_size, in_size] matrix of 1-d linear interpolation."""
  # PyTorch's source positions are float32; near an integer a float64 position
  # would give other weights. Without aligned corners it rounds once, after
  # multiplying and subtracting (a fused operation).
  index = np.arange(out_size, dtype=np.float64)
  if align_corners:
    # max: a single output pixel takes the first source pixel.
    scale = np.float32(in_size - 1) / np.float32(max(out_size - 1, 1))
    source = np.float32(index * np.float64(scale))
  else:
    scale = np.float32(in_size) / np.float32(out_size)
    source = np.float32((index + 0.5) * np.float64(scale) - 0.5)
    source = np.maximum(source, 0)
  low = np.minimum(source.astype(np.int64), in_size - 1)
  high = np.minimum(low + 1, in_size - 1)
  fraction = np.clip(source - low.astype(np.float32), 0, 1)
  matrix = np.zeros((out_size, in_size), np.float32)
  rows = np.arange(out_size)
  np.add.at(matrix, (rows, low), 1 - fraction)
  np.add.at(matrix, (rows, high), fraction)
  return matrix


@functools.cache
def _nearest_index(in_size: int, out_size: int) -> np.ndarray:
  """Source index of each output index, int32 [out_size]."""
  scale = np.float32(in_size) / np.float32(out_size)
  index = np.floor(np.arange(out_size, dtype=np.float32) * scale)
  return np.minimum(index, in_size - 1).astype(np.int32)


def _traced_matrix(
  in_size: Any, out_size: Any, align_corners: bool
) -> jax.Array:
  """`_bilinear_matrix` as a part of the program, of sides that are symbols."""
  old, new = (jnp.float32(jnp.asarray(size)) for size in (in_size, out_size))
  index = jnp.arange(out_size, dtype=jnp.float32)
  if align_corners:
    source = index * ((old - 1) / jnp.maximum(new - 1, 1))
  else:
    source = jnp.maximum((index + 0.5) * (old / new) - 0.5, 0)
  # The last source pixel stands for what rounding puts behind it.
  source = jnp.minimum(source, old - 1)
  distance = jnp.abs(source[:, None] - jnp.arange(in_size, dtype=jnp.float32))
  return jnp.maximum(1 - distance, 0)


def _is_known(*sizes: Any) -> bool:
  """Whether sizes are numbers, and not symbols of an exported program."""
  return all(isinstance(size, int | np.integer) for size in sizes)


def _check_size(size: tuple[int, int]) -> None:
  if len(size) != 2 or (_is_known(*size) and min(size) < 1):
    raise ValueError(f"size must be two positive integers, got {size}")


def resize_bilinear(
  x: jax.Array, size: tuple[int, int], *, align_corners: bool = True
) -> jax.Array:
  """Resizes feature maps by bilinear interpolation, without antialiasing.

  Two products with small interpolation matrices, so that the gradient is a
  product as well and not a scatter; in the form that suits the platform.

  Args:
    x: [B, h, w, C], any float or integer dtype.
    size: the output's height and width in pixels, (H, W).
    align_corners: True puts the centers of the corner pixels of input and
      output on one another; False the outer edges of the images.

  Returns:
    float32 [B, H, W, C].

  Raises:
    ValueError: if `x` has not four axes, or `size` is not two positive numbers.

  Reference: torch.nn.functional.interpolate, mode "bilinear".
  """
  if x.ndim != 4:
    raise ValueError(f"resize_bilinear needs [B, h, w, C], got {x.shape}")
  _check_size(size)
  x = x.astype(jnp.float32)
  for axis in (1, 2):
    sizes = x.shape[axis], size[axis - 1]
    if sizes[0] == sizes[1]:
      continue
    if _is_known(*sizes):
      x = _resize_axis(x, axis, sizes, align_corners)
    else:
      x = _multiply(_traced_matrix(*sizes, align_corners), x, axis)
  return x


# A rule of its own, as JAX would keep the matrix for the gradient, repeated for
# each product.
@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _resize_axis(
  x: jax.Array, axis: int, sizes: tuple[int, int], align_corners: bool
) -> jax.Array:
  """Resizes float32 [B, h, w, C] along an axis, of sizes (old, new)."""
  return _multiply(_bilinear_matrix(*sizes, align_corners), x, axis)


def _resize_forward(x, axis, sizes, align_corners):
  return _resize_axis(x, axis, sizes, align_corners), None


def _resize_backward(axis, sizes, align_corners, _, grad):
  matrix = _bilinear_matrix(*sizes, align_corners).T
  return (_multiply(matrix, grad, axis),)


_resize_axis.defvjp(_resize_forward, _resize_backward)


def _multiply(
  matrix: np.ndarray | jax.Array, x: jax.Array, axis: int
) -> jax.Array:
  """The product of a matrix with one axis, in the form of the platform."""
  # Lowered for one platform, this leaves a single branch in the program.
  return jax.lax.platform_dependent(
    x,
    cuda=functools.partial(multiply_in_place, matrix, axis=axis),
    rocm=functools.partial(multiply_in_place, matrix, axis=axis),
    default=functools.partial(multiply_at_once, matrix, axis=axis),
  )


def multiply_at_once(
  matrix: np.ndarray, x: jax.Array, *, axis: int
) -> jax.Array:
  """The product of a matrix with one axis of an array, as one large product.

  Args:
    matrix: float32 [m, n].
    x: float32 [B, h, w, C], of size n along `axis`.
    axis: 1 or 2.

  Returns:
    float32, as `x`, but of size m along `axis`.
  """
  spec = {1: "Hh,bhwc->bHwc", 2: "Ww,bhwc->bhWc"}[axis]
  return jnp.einsum(spec, matrix, x, precision=jax.lax.Precision.HIGHEST)


def multiply_in_place(
  matrix: np.ndarray, x: jax.Array, *, axis: int
) -> jax.Array:
  """`multiply_at_once` as many products, none of which moves an axis.

  XLA makes Triton kernels of products on GPUs, with the transposition that one
  large product needs inside; with an odd number of channels there are no tiles
  for that, and the compiler fails unless its autotuner finds another way.
  """
  before, after = x.shape[:axis], x.shape[axis + 1 :]
  rows = x.reshape(math.prod(before), x.shape[axis], math.prod(after))
  matrices = jnp.broadcast_to(matrix, (rows.shape[0], *matrix.shape))
  rows = jnp.matmul(matrices, rows, precision=jax.lax.Precision.HIGHEST)
  return rows.reshape(*before, matrix.shape[0], *after)


def resize_nearest(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Resizes maps by picking source pixels: floor(i * in / out) on each axis.

  The ratio in / out and its product with i are rounded to float32, as
  PyTorch does; for a few sizes that differs from exact arithmetic.

  Args:
    x: [B, h, w] or [B, h, w, C], any dtype (labels, masks, features).
    size: the output's height and width in pixels, (H, W).

  Returns:
    [B, H, W] or [B, H, W, C], the dtype of `x`.

  Raises:
    ValueError: if `x` has neither three nor four axes, or `size` is not two
      positive numbers.

  Reference: torch.nn.functional.interpolate, mode "nearest".
  """
  if x.ndim not in (3, 4):
    raise ValueError(f"resize_nearest needs [B, h, w(, C)], got {x.shape}")
  _check_size(size)
  for axis in (1, 2):
    if x.shape[axis] != size[axis - 1]:
      index = _nearest_index(x.shape[axis], size[axis - 1])
      x = jnp.take(x, index, axis=axis)
  return x
