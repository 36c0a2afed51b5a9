"""EfficientNet-Lite0 encoder: light, without squeeze-and-excitation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from u2pl_jax.models import depthwise, layers
from u2pl_jax.ops import normalize

STEM = "conv3"  # One 3x3 conv; there is no other.
STEM_CHANNELS = 32
EXPANSION = 6
# (kernel size, output channels) of the blocks. All groups but the first one
# start with a stride of 2 and end with a feature that the encoder returns.
BLOCKS = (
  ((3, 16),),
  2 * ((3, 24),),
  2 * ((5, 40),),
  3 * ((3, 80),) + 3 * ((5, 112),),
  4 * ((5, 192),) + ((3, 320),),
)
# The published weights take (x - 127) / 128 of RGB in 0..255.
INPUT_MEAN = 127.0
INPUT_SCALE = 128.0


def _batch_norm(dtype: Any, name: str) -> layers.BatchNorm:
  return layers.BatchNorm(dtype, epsilon=1e-3, name=name)


class Block(nn.Module):
  """Inverted residual: 1x1 expansion, depthwise conv, linear 1x1 projection.

  Attributes:
    channels: output channels.
    kernel_size: of the depthwise conv.
    expansion: the depthwise conv has so many times the input channels; 1
      leaves the first conv out.
    stride: of the depthwise conv.
    dilation: of the depthwise conv.
    dtype: compute dtype.

  Reference: Sandler et al. 2018 (arXiv 1801.04381), section 3.3.
  """

  channels: int
  kernel_size: int
  expansion: int
  stride: int
  dilation: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    y = x
    if self.expansion > 1:
      inner = self.expansion * x.shape[-1]
      y = layers.conv(inner, 1, dtype=self.dtype, name="expand_conv")(y)
      y = nn.relu6(_batch_norm(self.dtype, "expand_bn")(y, train=train))
    y = depthwise.DepthwiseConv(
      self.kernel_size,
      self.stride,
      self.dilation,
      self.dtype,
      name="depthwise_conv",
    )(y)
    y = nn.relu6(_batch_norm(self.dtype, "depthwise_bn")(y, train=train))
    y = layers.conv(self.channels, 1, dtype=self.dtype, name="project_conv")(y)
    y = _batch_norm(self.dtype, "project_bn")(y, train=train)
    is_residual = self.stride == 1 and self.channels == x.shape[-1]
    return x + y if is_residual else y


class EfficientNetLite0(nn.Module):
  """Returns features at strides 4, 8, 16 and 32 or the output stride.

  Every conv has TensorFlow's "SAME" padding: with stride 2, even sides get
  their one row of zeros at the bottom and right. Where dilation replaces
  strides, the features at the remaining positions are those of the strided
  network if the sides are multiples of 32 plus 1.

  Attributes:
    output_stride: 8, 16 or 32, input pixels per pixel of the last feature.
    dtype: compute dtype; parameters and statistics are float32.
    remat: compute the blocks again in the backward pass.

  Reference: Liu 2020, "Higher accuracy on vision models with
    EfficientNet-Lite" (TensorFlow blog); Tan and Le 2019 (arXiv 1905.11946).
  """

  output_stride: int = 32
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
    """Encodes images [B, H, W, 3].

    Args:
      images: float, normalised by `normalize.normalize`.
      train: use and record batch statistics.

    Returns:
      The outputs of blocks 2, 4, 10 and 15 in `dtype`, [B, h_i, w_i, C_i]
      with 24, 40, 112 and 320 channels.
    """
    x = _to_published_range(images).astype(self.dtype)
    x = layers.conv(
      STEM_CHANNELS,
      3,
      stride=2,
      padding="SAME",
      dtype=self.dtype,
      name="stem_conv",
    )(x)
    x = nn.relu6(_batch_norm(self.dtype, "stem_bn")(x, train=train))
    # The stride that a ResNet has in its max-pool is the second group's here.
    plan = [(1, 1, 1), (2, 1, 1)] + layers.layer_strides(self.output_stride)[1:]
    features, number = [], 0
    for blocks, (stride, first_dilation, dilation) in zip(BLOCKS, plan):
      for index, (kernel_size, channels) in enumerate(blocks):
        module = Block(
          channels,
          kernel_size,
          EXPANSION if number else 1,
          1 if index else stride,
          dilation if index else first_dilation,
          self.dtype,
          name=f"block{number}",
        )
        x = layers.run_block(module, x, train=train, remat=self.remat)
        number += 1
      features.append(x)
    return features[1:]


def _to_published_range(images: jax.Array) -> jax.Array:
  """From the project's normalisation to that of the published weights.

  Here rather than in the input pipeline, whose images serve every encoder,
  and not folded into the first kernel, as padding is 0 in the latter range.
  """
  scale = np.float32(normalize.STD_RGB) / INPUT_SCALE
  shift = (np.float32(normalize.MEAN_RGB) - INPUT_MEAN) / INPUT_SCALE
  return images.astype(jnp.float32) * scale + shift
