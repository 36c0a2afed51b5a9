"""Depthwise convolution with TensorFlow's "SAME" padding, fast on CPUs too.

XLA runs grouped convolutions on a CPU many times slower than it could. There
the convolution is written as a sum over the kernel's taps of shifted slices of
the input, which XLA fuses into one vectorized loop.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import layers

# So many groups of images are added up before the sum over pixels.
_MAX_GROUPS = 8


class DepthwiseConv(nn.Module):
  """A square conv of every channel by itself, without bias.

  Attributes:
    kernel_size: odd side of the kernel in taps.
    stride: output step in input pixels.
    dilation: distance between taps in input pixels.
    dtype: compute dtype; the kernel [k, k, 1, C] stays float32.

  Reference: tf.keras.layers.DepthwiseConv2D with padding "same".
  """

  kernel_size: int
  stride: int
  dilation: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), C]."""
    shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
    kernel = self.param("kernel", _init_kernel, shape)
    return depthwise_conv(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      self.stride,
      self.dilation,
    )


def _init_kernel(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Draws with deviation sqrt(2 / taps): each output has a fan of one."""
  height, width, _, channels = shape
  values = layers.kaiming_normal_fan_out(key, (height, width, channels, 1))
  return values.reshape(shape)


def depthwise_conv(
  x: jax.Array, kernel: jax.Array, stride: int, dilation: int
) -> jax.Array:
  """Convolves each channel, in the form that suits the platform.

  y[p, c] = sum_t x[stride * p + dilation * t - before, c] kernel[t, c]

  with zeros outside of `x`; `before` is half of the padding that the output's
  ceil(side / stride) pixels need, rounded down.

  Args:
    x: float [B, H, W, C].
    kernel: [k, k, 1, C] of the same dtype.
    stride: output step in input pixels.
    dilation: distance between taps in input pixels.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), C].
  """
  arguments = dict(stride=stride, dilation=dilation)
  # Lowered for one platform, this leaves a single branch in the program.
  return jax.lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(by_slices, **arguments),
    default=functools.partial(by_convolution, **arguments),
  )


def by_convolution(
  x: jax.Array, kernel: jax.Array, stride: int, dilation: int
) -> jax.Array:
  """`depthwise_conv` as XLA's grouped convolution."""
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    rhs_dilation=(dilation, dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def by_slices(
  x: jax.Array, kernel: jax.Array, stride: int, dilation: int
) -> jax.Array:
  """`depthwise_conv` as a sum of shifted slices.

  Its derivatives are written out: those that JAX would find do not fuse into
  one loop (by `x`) or not into a vectorized one (by `kernel`).
  """
  pads = _same_pads(x.shape, kernel.shape[0], stride, dilation)
  return _correlate(_pad(x, pads), kernel, stride, dilation)


def _forward(x, kernel, stride, dilation):
  return by_slices(x, kernel, stride, dilation), (x, kernel)


def _backward(stride, dilation, residuals, gradient):
  x, kernel = residuals
  pads = _same_pads(x.shape, kernel.shape[0], stride, dilation)
  return (
    _differentiate_by_x(gradient, x, kernel, pads, stride, dilation),
    _differentiate_by_kernel(gradient, x, kernel, pads, stride, dilation),
  )


by_slices.defvjp(_forward, _backward)


def _differentiate_by_x(gradient, x, kernel, pads, stride, dilation):
  """The transposed convolution: the mirrored kernel over a spread gradient."""
  reach = dilation * (kernel.shape[0] - 1)
  spread = []
  for axis, (before, _) in enumerate(pads, start=1):
    covered = (gradient.shape[axis] - 1) * stride + 1
    after = x.shape[axis] + before - covered
    spread.append((reach - before, after, stride - 1))
  return _correlate(_pad(gradient, spread), kernel[::-1, ::-1], 1, dilation)


def _differentiate_by_kernel(gradient, x, kernel, pads, stride, dilation):
  """Sums x times gradient over images and pixels, for each tap.

  XLA's own reduction to channels is a scalar loop. So the images are added
  first, elementwise, and a product with ones sums the pixels. The taps form a
  loop, as their code side by side would take several times as long to compile.
  """
  size, (batch, *sides, channels) = kernel.shape[0], gradient.shape
  groups = math.gcd(batch, _MAX_GROUPS)
  shape = (groups, batch // groups, *sides, channels)
  gradient = gradient.reshape(shape).astype(jnp.float32)
  x = _pad(x, pads)
  height, width = ((side - 1) * stride + 1 for side in sides)

  def sum_pixels(tap):
    corner = (0, tap // size * dilation, tap % size * dilation, 0)
    piece = jax.lax.dynamic_slice(x, corner, (batch, height, width, channels))
    piece = piece[:, ::stride, ::stride].reshape(shape)
    total = sum(piece[group] * gradient[group] for group in range(groups))
    # Kept apart from the product, into which XLA might fold it.
    total = jax.lax.optimization_barrier(total.reshape(-1, channels))
    return jnp.dot(jnp.ones(len(total)), total, precision="highest")

  sums = jax.lax.map(sum_pixels, jnp.arange(size**2))
  return sums.reshape(kernel.shape).astype(kernel.dtype)


def _correlate(x, kernel, stride, dilation):
  """Slides the kernel over x [B, H, W, C] without any padding."""
  size = kernel.shape[0]
  reach = dilation * (size - 1)
  kernel = kernel.astype(jnp.float32)
  total = 0.0
  for row in range(size):
    for column in range(size):
      top, left = row * dilation, column * dilation
      bottom = x.shape[1] - reach + top
      right = x.shape[2] - reach + left
      piece = x[:, top:bottom:stride, left:right:stride]
      total += piece * kernel[row, column, 0]
  return total.astype(x.dtype)


def _same_pads(shape, kernel_size, stride, dilation):
  window = (dilation * (kernel_size - 1) + 1,) * 2
  return jax.lax.padtype_to_pads(shape[1:3], window, (stride, stride), "SAME")


def _pad(x, pads):
  """Pads height and width by (before, after) or (before, after, between)."""
  config = [(*pad, 0)[:3] for pad in ((0, 0), *pads, (0, 0))]
  return jax.lax.pad(x, jnp.zeros((), x.dtype), config)
