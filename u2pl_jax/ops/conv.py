"""Convolutions and pooling in the forms that are fast, backward above all.

Each computes what the plain operation does. XLA's own forms suit GPUs and
TPUs; CPUs get others where these were measured to be faster, see
docs/benchmarks.md.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Where a kernel's taps meet the map less often than this, CPUs take one tap
# after the other. Measured: at 0.71 it takes three quarters of the time, at
# 0.85 it gains nothing.
_WORTH_TAPS = 0.75


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def multiply_channels(
  x: jax.Array, kernel: jax.Array, precision: Any = None
) -> jax.Array:
  """A 1x1 convolution as one matrix product.

  On CPUs two to four times as fast as XLA's convolution. The gradient of the
  kernel is a product of matrices there: with more axes than two, XLA
  transposes the maps first.

  Args:
    x: [B, H, W, I].
    kernel: [I, O].
    precision: of the product.

  Returns:
    [B, H, W, O], the dtype of `x`.
  """
  return jnp.einsum("bhwi,io->bhwo", x, kernel, precision=precision)


def _multiply_forward(x, kernel, precision):
  return multiply_channels(x, kernel, precision), (x, kernel)


def _multiply_backward(precision, saved, grad):
  x, kernel = saved
  grad_x = jnp.einsum("bhwo,io->bhwi", grad, kernel, precision=precision)

  def multiply_maps(x, grad):
    return jnp.einsum("bhwi,bhwo->io", x, grad, precision=precision)

  def multiply_rows(x, grad):
    x, grad = (array.reshape(-1, array.shape[-1]) for array in (x, grad))
    return jnp.einsum("pi,po->io", x, grad, precision=precision)

  grad_kernel = jax.lax.platform_dependent(
    x, grad, cpu=multiply_rows, default=multiply_maps
  )
  return grad_x, grad_kernel


multiply_channels.defvjp(_multiply_forward, _multiply_backward)


def dilated(
  x: jax.Array,
  kernel: jax.Array,
  rate: tuple[int, int],
  *,
  precision: Any = None,
) -> jax.Array:
  """A dilated convolution of stride 1 without the work that padding makes.

  Taps that meet nothing but padding are left out everywhere: a rate of 24 on a
  map of 17 x 17 leaves the center tap of nine. What else meets padding is left
  out on CPUs, where it pays. All of it is zero, exactly.

  Args:
    x: [B, H, W, I].
    kernel: [kh, kw, I, O], odd sides.
    rate: pixels from tap to tap, along height and width.
    precision: of the products.

  Returns:
    [B, H, W, O]; the map is padded with half of the dilated kernel.
  """
  if not all(isinstance(side, int) for side in x.shape[1:3]):
    # Exported for maps of any size, which decide nothing here.
    return _convolve(x, kernel, rate, precision)
  kept = []
  for axis, step in enumerate(rate):
    half = kernel.shape[axis] // 2
    reached = min(half, (x.shape[1 + axis] - 1) // step)
    kept.append(slice(half - reached, half + reached + 1))
  kernel = kernel[tuple(kept)]
  if kernel.shape[:2] == (1, 1):
    return multiply_channels(x, kernel[0, 0], precision)
  if _share_inside(x.shape[1:3], kernel.shape[:2], rate) > _WORTH_TAPS:
    return _convolve(x, kernel, rate, precision)
  return _dilated_by_platform(x, kernel, rate, precision)


def _share_inside(
  size: Sequence[int], taps: Sequence[int], rate: Sequence[int]
) -> float:
  """The share of pairs of output pixel and tap that meet the map."""
  share = 1.0
  for side, count, step in zip(size, taps, rate, strict=True):
    offsets = step * (np.arange(count) - count // 2)
    share *= np.mean(np.maximum(side - np.abs(offsets), 0)) / side
  return float(share)


def _convolve(x, kernel, rate, precision):
  padding = [
    (step * (side // 2),) * 2
    for step, side in zip(rate, kernel.shape[:2], strict=True)
  ]
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1, 1),
    padding=padding,
    rhs_dilation=rate,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=precision,
  )


def _add_taps(x, kernel, rate, precision):
  """`_convolve`, one tap after the other on the part of the map it meets."""
  (height, width), total = x.shape[1:3], 0.0
  for row, column in np.ndindex(kernel.shape[:2]):
    down = rate[0] * (row - kernel.shape[0] // 2)
    right = rate[1] * (column - kernel.shape[1] // 2)
    part = x[
      :,
      max(down, 0) : height + min(down, 0),
      max(right, 0) : width + min(right, 0),
    ]
    product = multiply_channels(part, kernel[row, column], precision)
    total += jnp.pad(
      product.astype(jnp.float32),
      (
        (0, 0),
        (max(-down, 0), max(down, 0)),
        (max(-right, 0), max(right, 0)),
        (0, 0),
      ),
    )
  return total.astype(x.dtype)


# A rule of its own keeps the platforms apart: what one of them would save for
# its backward pass, all would save.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _dilated_by_platform(x, kernel, rate, precision):
  return jax.lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(_add_taps, rate=rate, precision=precision),
    default=functools.partial(_convolve, rate=rate, precision=precision),
  )


def _dilated_forward(x, kernel, rate, precision):
  return _dilated_by_platform(x, kernel, rate, precision), (x, kernel)


def _dilated_backward(rate, precision, saved, grad):
  def gradient_of(form):
    def compute(x, kernel, grad):
      form_here = functools.partial(form, rate=rate, precision=precision)
      return jax.vjp(form_here, x, kernel)[1](grad)

    return compute

  return jax.lax.platform_dependent(
    *saved, grad, cpu=gradient_of(_add_taps), default=gradient_of(_convolve)
  )


_dilated_by_platform.defvjp(_dilated_forward, _dilated_backward)
