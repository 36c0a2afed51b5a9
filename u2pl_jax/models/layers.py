"""Building blocks that behave as PyTorch's: BatchNorm, Dropout2d, convs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.ops import conv as conv_ops

# Input pixels per pixel of an encoder's last feature.
OUTPUT_STRIDES = (8, 16, 32)


# The initializers draw vectors and reshape them: on a CPU, XLA takes three
# times as long to compile random bits of a four-dimensional shape.
def kaiming_normal_fan_out(
  key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> jax.Array:
  """Draws the published encoder's kernels: deviation sqrt(2 / fan_out).

  Args:
    key: jax random key.
    shape: [kh, kw, in, out].
    dtype: of the result.
  """
  size, fan_out = math.prod(shape), shape[0] * shape[1] * shape[3]
  values = jax.random.normal(key, (size,), dtype) * math.sqrt(2 / fan_out)
  return values.reshape(shape)


def uniform_fan_in(fan_in: int) -> Callable[..., jax.Array]:
  """Returns PyTorch's default initializer of a conv's kernel and bias.

  It draws uniformly from +-1/sqrt(fan_in); the published decoder and
  auxiliary head have it.

  Args:
    fan_in: input channels times kernel taps.
  """
  bound = 1 / math.sqrt(fan_in)

  def init(key, shape, dtype=jnp.float32):
    size = (math.prod(shape),)
    return jax.random.uniform(key, size, dtype, -bound, bound).reshape(shape)

  return init


def conv(
  features: int,
  kernel_size: int,
  *,
  stride: int = 1,
  dilation: int = 1,
  padding: str | None = None,
  init: Callable[..., jax.Array] = kaiming_normal_fan_out,
  use_bias: bool = False,
  dtype: Any,
  name: str,
) -> nn.Conv:
  """Returns a square conv; by default one of the published encoder.

  Args:
    features: output channels.
    kernel_size: odd side of the kernel in taps.
    stride: output step in input pixels.
    dilation: distance between taps in input pixels.
    padding: None for half the kernel of zeros on every side, as PyTorch's
      networks have, or "SAME" for TensorFlow's rule.
    init: initializer of kernel and bias.
    use_bias: whether a bias is added.
    dtype: compute dtype; the parameters stay float32.
    name: submodule name, part of the parameter path.
  """
  compute = None
  if kernel_size == 1 and stride == 1:
    compute = _multiply_channels
  elif padding is None:
    compute = _convolve
  return nn.Conv(
    features,
    (kernel_size, kernel_size),
    strides=stride,
    padding=padding or dilation * (kernel_size // 2),
    kernel_dilation=dilation,
    use_bias=use_bias,
    dtype=dtype,
    kernel_init=init,
    bias_init=init,
    conv_general_dilated=compute,
    name=name,
  )


def _multiply_channels(
  x: jax.Array, kernel: jax.Array, *_, precision: Any = None, **__
) -> jax.Array:
  """`ops.conv.multiply_channels`, called as `conv_general_dilated` is."""
  return conv_ops.multiply_channels(x, kernel[0, 0], precision)


def _convolve(
  x: jax.Array,
  kernel: jax.Array,
  window_strides: Sequence[int],
  *_,
  rhs_dilation: Sequence[int],
  precision: Any = None,
  **__,
) -> jax.Array:
  """`ops.conv.convolve`, called as `conv_general_dilated` is."""
  return conv_ops.convolve(
    x,
    kernel,
    stride=tuple(window_strides),
    rate=tuple(rhs_dilation),
    precision=precision,
  )


def run_block(
  block: nn.Module, x: jax.Array, *, train: bool, remat: bool
) -> jax.Array:
  """Calls a block of an encoder.

  Args:
    block: called with `x` and `train`.
    x: its input.
    train: use and record batch statistics.
    remat: keep nothing but the input for the backward pass, and compute the
      rest again there; changes no result.
  """
  if not remat:
    return block(x, train=train)
  return nn.remat(lambda block, x: block(x, train=train))(block, x)


def layer_strides(output_stride: int) -> list[tuple[int, int, int]]:
  """Plans stride and dilation of an encoder's layers 1-4.

  Past `output_stride` a layer trades its stride for dilation; its first conv,
  which would have the stride, keeps the dilation of the layer before. The
  result at the remaining positions is then that of the strided network.

  Args:
    output_stride: 8, 16 or 32 input pixels per pixel of layer 4.

  Returns:
    Per layer (stride, dilation of the first conv that is larger than 1x1,
    dilation of all others).

  Reference: torchvision's `replace_stride_with_dilation`.
  """
  plan = [(1, 1, 1)]
  current_stride, dilation = 4, 1
  for _ in range(3):
    previous_dilation, stride = dilation, 2
    if current_stride >= output_stride:
      dilation, stride = dilation * 2, 1
    current_stride *= stride
    plan.append((stride, previous_dilation, dilation))
  return plan


def feature_strides(output_stride: int) -> tuple[int, ...]:
  """Input pixels per pixel of the features of layers 1-4."""
  return tuple(min(4 * 2**layer, output_stride) for layer in range(4))


class BatchNorm(nn.Module):
  """Batch normalization over all axes but the last, PyTorch's rules.

  y = (x - mean) / sqrt(var + epsilon) * scale + bias

  In training `var` is the biased variance of the batch, while the running
  variance takes up the unbiased one. Under `jax.jit` the batch is the global
  one whatever its sharding, which is what SyncBatchNorm computes; hence no
  axis name. Everything is computed in float32.

  Attributes:
    dtype: dtype of the output.
    zero_scale: start `scale` at 0 instead of 1.
    momentum: share of the old running value that an update keeps.
    epsilon: added to the variance.

  Reference: torch.nn.BatchNorm2d (its momentum 0.1 is 0.9 here).
  """

  dtype: Any = jnp.float32
  zero_scale: bool = False
  momentum: float = 0.9
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Normalizes x [..., C]; `train` uses and records batch statistics.

    Raises:
      ValueError: in training with a single value per channel.
    """
    shape = (x.shape[-1],)
    constant = nn.initializers.constant(0.0 if self.zero_scale else 1.0)
    scale = self.param("scale", constant, shape, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    running_var = self.variable("batch_stats", "var", jnp.ones, shape)
    x = x.astype(jnp.float32)
    if not train:
      mean, var = running_mean.value, running_var.value
    else:
      count = x.size // x.shape[-1]
      if count < 2:
        raise ValueError(
          f"BatchNorm {'/'.join(self.path)} needs more than one value per "
          f"channel in training, got an input of shape {x.shape}"
        )
      axes = tuple(range(x.ndim - 1))
      mean = jnp.mean(x, axes)
      var = jnp.mean(jnp.square(x - mean), axes)
      if not self.is_initializing():
        unbiased = var * (count / (count - 1))
        running_mean.value = self._average(running_mean.value, mean)
        running_var.value = self._average(running_var.value, unbiased)
    y = (x - mean) * (jax.lax.rsqrt(var + self.epsilon) * scale) + bias
    return y.astype(self.dtype)

  def _average(self, old: jax.Array, new: jax.Array) -> jax.Array:
    new = jax.lax.stop_gradient(new)
    return self.momentum * old + (1 - self.momentum) * new


def dropout_channels(
  x: jax.Array, rate: float, *, dropout: bool, name: str
) -> jax.Array:
  """Zeroes whole channels of single images and scales the others up.

  Call it inside a compact module method; it draws from the rng "dropout".

  Args:
    x: [B, h, w, C].
    rate: probability in [0, 1) that a channel of an image is dropped.
    dropout: False returns `x` as it is.
    name: submodule name; it enters the random stream.

  Reference: torch.nn.Dropout2d.
  """
  layer = nn.Dropout(rate, broadcast_dims=(1, 2), name=name)
  return layer(x, deterministic=not dropout)
