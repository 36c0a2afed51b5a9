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
# With this many inputs for each output, and a map that taps meet more often
# than this, CPUs shift products of the map instead of parts of the map: as
# fast, and without nine copies of it.
_WORTH_SHIFTS, _SHIFTED_ABOVE = 8, 0.5
# Input times output channels from which the gradient of a kernel is faster by
# products of matrices.
_WORTH_PRODUCTS = 64 * 64


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


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: tuple[int, int] = (1, 1),
  rate: tuple[int, int] = (1, 1),
  precision: Any = None,
) -> jax.Array:
  """A convolution with zeros around the map, half of the dilated kernel wide.

  Taps of a dilated one that meet nothing but padding are left out everywhere: a
  rate of 24 on a map of 17 x 17 leaves the center tap of nine. What else meets
  padding is left out on CPUs, where it pays. All of it is zero, exactly.

  On CPUs the gradient of a large kernel is one product of matrices a tap, a
  fifth to three quarters of the time that XLA's convolution takes for it.

  Args:
    x: [B, H, W, I].
    kernel: [kh, kw, I, O], odd sides.
    stride: pixels from output to output, along height and width.
    rate: pixels from tap to tap.
    precision: of the products.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), O].
  """
  if not all(isinstance(side, int) for side in x.shape[1:3]):
    # Exported for maps of any size, which decide nothing here.
    return _convolve(x, kernel, stride, rate, precision)
  if stride == (1, 1) and max(rate) > 1:
    kernel = _reached_taps(kernel, x.shape[1:3], rate)
    if kernel.shape[:2] == (1, 1):
      return multiply_channels(x, kernel[0, 0], precision)
    share = _share_inside(x.shape[1:3], kernel.shape[:2], rate)
    inputs, outputs = kernel.shape[2:]
    if share > _SHIFTED_ABOVE and inputs >= _WORTH_SHIFTS * outputs:
      return _dilated_by_platform(x, kernel, rate, precision, _add_shifted)
    if share <= _WORTH_TAPS:
      return _dilated_by_platform(x, kernel, rate, precision, _add_taps)
  return _with_products(x, kernel, stride, rate, precision)


def _reached_taps(
  kernel: jax.Array, size: Sequence[int], rate: Sequence[int]
) -> jax.Array:
  """The part of a kernel that meets more than padding."""
  kept = []
  for side, count, step in zip(size, kernel.shape[:2], rate, strict=True):
    reached = min(count // 2, (side - 1) // step)
    kept.append(slice(count // 2 - reached, count // 2 + reached + 1))
  return kernel[tuple(kept)]


def _share_inside(
  size: Sequence[int], taps: Sequence[int], rate: Sequence[int]
) -> float:
  """The share of pairs of output pixel and tap that meet the map."""
  share = 1.0
  for side, count, step in zip(size, taps, rate, strict=True):
    offsets = step * (np.arange(count) - count // 2)
    share *= np.mean(np.maximum(side - np.abs(offsets), 0)) / side
  return float(share)


def _convolve(x, kernel, stride, rate, precision):
  padding = [
    (step * (side // 2),) * 2
    for step, side in zip(rate, kernel.shape[:2], strict=True)
  ]
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=stride,
    padding=padding,
    rhs_dilation=rate,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=precision,
  )


_with_products = jax.custom_vjp(_convolve, nondiff_argnums=(2, 3, 4))


def _with_products_forward(x, kernel, stride, rate, precision):
  return _convolve(x, kernel, stride, rate, precision), (x, kernel)


def _with_products_backward(stride, rate, precision, saved, grad):
  def convolve(x, kernel):
    return _convolve(x, kernel, stride, rate, precision)

  def by_convolution(x, kernel, grad):
    return jax.vjp(convolve, x, kernel)[1](grad)

  def by_products(x, kernel, grad):
    grad_kernel = _multiply_maps(x, grad, kernel.shape, stride, rate, precision)
    # In this order, as `x` is not needed any more then.
    grad_kernel, grad = jax.lax.optimization_barrier((grad_kernel, grad))
    (grad_x,) = jax.vjp(lambda x: convolve(x, kernel), x)[1](grad)
    return grad_x, grad_kernel

  by_platform = {"default": by_convolution}
  if np.prod(saved[1].shape[2:]) >= _WORTH_PRODUCTS:
    by_platform["cpu"] = by_products
  return jax.lax.platform_dependent(*saved, grad, **by_platform)


_with_products.defvjp(_with_products_forward, _with_products_backward)


def _tap_offsets(
  taps: Sequence[int], rate: Sequence[int]
) -> list[tuple[int, int]]:
  """Pixels from each tap to the center one: down, right."""
  return [
    (rate[0] * (row - taps[0] // 2), rate[1] * (column - taps[1] // 2))
    for row, column in np.ndindex(*taps)
  ]


def _multiply_maps(x, grad, kernel_shape, stride, rate, precision):
  """Gradient of a kernel, tap by tap; one shifted copy of a map at a time."""
  offsets = np.array(_tap_offsets(kernel_shape[:2], rate))
  shifts_x = stride != (1, 1) or x.shape[-1] < grad.shape[-1]
  if not shifts_x:  # Whichever is less to copy.
    x, grad, offsets = grad, x, -offsets
  reach = np.abs(offsets).max(0)
  padding = ((0, 0), *((pixels, pixels) for pixels in reach), (0, 0))
  padded = jnp.pad(x, padding)

  def multiply(start):
    part = jax.lax.dynamic_slice(padded, (0, *start, 0), x.shape)
    part = part[:, :: stride[0], :: stride[1]]
    left, right = (part, grad) if shifts_x else (grad, part)
    left, right = (
      array.reshape(-1, array.shape[-1]) for array in (left, right)
    )
    return jnp.einsum("pi,po->io", left, right, precision=precision)

  return jax.lax.map(multiply, jnp.asarray(offsets + reach)).reshape(
    kernel_shape
  )


def _add_taps(x, kernel, rate, precision):
  """`_convolve`, one tap after the other on the part of the map it meets."""
  total = 0.0
  offsets = _tap_offsets(kernel.shape[:2], rate)
  places = np.ndindex(kernel.shape[:2])
  for place, offset in zip(places, offsets, strict=True):
    part = _met_part(x, offset)
    product = multiply_channels(part, kernel[place], precision)
    total += _moved_back(product, offset)
  return total.astype(x.dtype)


def _add_shifted(x, kernel, rate, precision):
  """`_convolve`, the products with all taps at once, then moved and added."""
  total = 0.0
  inputs, outputs = kernel.shape[2:]
  kernels = jnp.swapaxes(kernel.reshape(-1, inputs, outputs), 0, 1)
  products = multiply_channels(x, kernels.reshape(inputs, -1), precision)
  offsets = _tap_offsets(kernel.shape[:2], rate)
  for index, offset in enumerate(offsets):
    product = products[..., index * outputs : (index + 1) * outputs]
    total += _moved_back(_met_part(product, offset), offset)
  return total.astype(x.dtype)


def _met_part(x: jax.Array, offset: Sequence[int]) -> jax.Array:
  """What a tap with an offset, down and right, meets of [B, H, W, C]."""
  kept = [
    slice(max(pixels, 0), side + min(pixels, 0))
    for side, pixels in zip(x.shape[1:3], offset, strict=True)
  ]
  return x[:, *kept]


def _moved_back(part: jax.Array, offset: Sequence[int]) -> jax.Array:
  """The map [B, H, W, C], float32, with that part where outputs see it."""
  moved = [(max(-pixels, 0), max(pixels, 0)) for pixels in offset]
  return jnp.pad(part.astype(jnp.float32), ((0, 0), *moved, (0, 0)))


_convolve_all = functools.partial(_convolve, stride=(1, 1))


# A rule of its own keeps the platforms apart: what one of them would save for
# its backward pass, all would save.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _dilated_by_platform(x, kernel, rate, precision, form):
  return jax.lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(form, rate=rate, precision=precision),
    default=functools.partial(_convolve_all, rate=rate, precision=precision),
  )


def _dilated_forward(x, kernel, rate, precision, form):
  return _dilated_by_platform(x, kernel, rate, precision, form), (x, kernel)


def _dilated_backward(rate, precision, form, saved, grad):
  def gradient_of(convolve):
    def compute(x, kernel, grad):
      chosen = functools.partial(convolve, rate=rate, precision=precision)
      return jax.vjp(chosen, x, kernel)[1](grad)

    return compute

  return jax.lax.platform_dependent(
    *saved,
    grad,
    cpu=gradient_of(form),
    default=gradient_of(_convolve_all),
  )


_dilated_by_platform.defvjp(_dilated_forward, _dilated_backward)
