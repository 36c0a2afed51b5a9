"""ResNet-18/34/50/101 encoders with a deep or 7x7 stem, dilated on request."""

import dataclasses
import re
import statistics
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import layers
from u2pl_jax.ops import normalize, pool
from u2pl_jax.runtime import options as options_lib

# depth: (blocks of layers 1-4, has bottlenecks)
DEPTHS = {
  18: ((2, 2, 2, 2), False),
  34: ((3, 4, 6, 3), False),
  50: ((3, 4, 6, 3), True),
  101: ((3, 4, 23, 3), True),
}
NAMES = tuple(f"resnet{depth}" for depth in DEPTHS)
MEAN_RGB, STD_RGB = normalize.MEAN_RGB, normalize.STD_RGB
MULTIPLE = 1
STEMS = {
  "deep": ("stem_conv1", "stem_bn1", "stem_conv2", "stem_bn2")
  + ("stem_conv3", "stem_bn3"),
  "conv7": ("conv1", "bn1"),
}
# Factors on the dilations of layer 4's blocks.
MULTI_GRID = (2, 2, 4)
BOTTLENECK_EXPANSION = 4

# Numbers at the end of PyTorch's names are positions in a Sequential, where
# ReLU counts as well.
TORCH_RULES = (
  (r"stem_conv1", r"conv1.0"),
  (r"stem_bn1", r"conv1.1"),
  (r"stem_conv2", r"conv1.3"),
  (r"stem_bn2", r"conv1.4"),
  (r"stem_conv3", r"conv1.6"),
  (r"stem_bn3", r"bn1"),
  (r"(conv1|bn1)", r"\1"),
  (r"(layer\d)_(\d+)/downsample_conv", r"\1.\2.downsample.0"),
  (r"(layer\d)_(\d+)/downsample_bn", r"\1.\2.downsample.1"),
  (r"(layer\d)_(\d+)/(\w+)", r"\1.\2.\3"),
)
TORCH_SIGN = r"layer[1-4]\.\d+\.bn1\."
TORCH_CLASSIFIER = ("fc.",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Options of a ResNet; the defaults are those of the paper."""

  SECTION: ClassVar[str] = "encoder"

  # "deep": three 3x3 convs; "conv7": one 7x7 conv, torchvision's.
  stem: str = options_lib.setting("deep", choices=tuple(STEMS))
  # Base width, channels; 64 as published.
  width: int = options_lib.setting(64, minimum=1)
  # Input pixels per pixel of layer 4: 8, 16 or 32.
  output_stride: int = options_lib.setting(8, choices=layers.OUTPUT_STRIDES)
  multi_grid: bool = True  # Layer 4's dilations times 2, 2, 4.
  # Whether max-pooling makes one more pixel of an even side.
  pool_ceil: bool = True


class BasicBlock(nn.Module):
  """Two 3x3 convs and a shortcut.

  Differs from U2PL: its BasicBlock refuses dilation. Here the second conv
  always has the dilation of its layer, see `layers.layer_strides`.

  Attributes:
    channels: output channels.
    stride: step of the first conv.
    dilations: of the first and the second conv.
    dtype: compute dtype.
  """

  channels: int
  stride: int
  dilations: tuple[int, int]
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    y = layers.conv(
      self.channels,
      3,
      stride=self.stride,
      dilation=self.dilations[0],
      dtype=self.dtype,
      name="conv1",
    )(x)
    y = nn.relu(layers.BatchNorm(self.dtype, name="bn1")(y, train=train))
    y = layers.conv(
      self.channels,
      3,
      dilation=self.dilations[1],
      dtype=self.dtype,
      name="conv2",
    )(y)
    y = layers.BatchNorm(self.dtype, zero_scale=True, name="bn2")(
      y, train=train
    )
    return nn.relu(y + _shortcut(x, y, self.stride, self.dtype, train))


class Bottleneck(nn.Module):
  """1x1, 3x3 (with stride and dilation) and 1x1 convs and a shortcut.

  Attributes:
    channels: output channels; a quarter of them inside.
    stride: step of the 3x3 conv.
    dilations: the first is that of the 3x3 conv; there is no second one.
    dtype: compute dtype.
  """

  channels: int
  stride: int
  dilations: tuple[int, int]
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    inner = self.channels // BOTTLENECK_EXPANSION
    y = layers.conv(inner, 1, dtype=self.dtype, name="conv1")(x)
    y = nn.relu(layers.BatchNorm(self.dtype, name="bn1")(y, train=train))
    y = layers.conv(
      inner,
      3,
      stride=self.stride,
      dilation=self.dilations[0],
      dtype=self.dtype,
      name="conv2",
    )(y)
    y = nn.relu(layers.BatchNorm(self.dtype, name="bn2")(y, train=train))
    y = layers.conv(self.channels, 1, dtype=self.dtype, name="conv3")(y)
    y = layers.BatchNorm(self.dtype, zero_scale=True, name="bn3")(
      y, train=train
    )
    return nn.relu(y + _shortcut(x, y, self.stride, self.dtype, train))


def _shortcut(
  x: jax.Array, y: jax.Array, stride: int, dtype: Any, train: bool
) -> jax.Array:
  """`x` itself, or projected to the channels and the size of `y`."""
  if stride == 1 and x.shape[-1] == y.shape[-1]:
    return x
  x = layers.conv(
    y.shape[-1], 1, stride=stride, dtype=dtype, name="downsample_conv"
  )(x)
  return layers.BatchNorm(dtype, name="downsample_bn")(x, train=train)


class ResNet(nn.Module):
  """A residual encoder that returns the features of layers 1-4.

  Attributes:
    depth: 18, 34 (basic blocks), 50 or 101 (bottlenecks).
    stem: "deep" (three 3x3 convs, the published encoder) or "conv7" (one 7x7
      conv, torchvision's).
    width: base number of channels, 64 as published; all others scale with it.
    output_stride: 8, 16 or 32, input pixels per pixel of layer 4.
    multi_grid: multiply the dilations of layer 4's blocks by 2, 2, 4.
    pool_ceil: ceil mode of the max-pooling, as published with U2PL.
    dtype: compute dtype; parameters and statistics are float32.
    remat: compute the blocks again in the backward pass.

  Reference: U2PL u2pl/models/resnet.py.
  """

  depth: int
  stem: str = "deep"
  width: int = 64
  output_stride: int = 8
  multi_grid: bool = True
  pool_ceil: bool = True
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
      images: float, normalized.
      train: use and record batch statistics.

    Returns:
      Features of layers 1-4 in `dtype`, [B, h_i, w_i, C_i].
    """
    x = self._stem(images.astype(self.dtype), train)
    x = pool.max_pool(x, self.pool_ceil)
    blocks, has_bottlenecks = DEPTHS[self.depth]
    features = []
    for layer, plan in enumerate(layers.layer_strides(self.output_stride)):
      stride, first_dilation, dilation = plan
      channels = self.width * 2**layer
      if has_bottlenecks:
        channels *= BOTTLENECK_EXPANSION
      for index in range(blocks[layer]):
        is_gridded = self.multi_grid and layer == 3
        grid = MULTI_GRID[index] if is_gridded else 1
        leading = first_dilation if index == 0 else dilation
        block = Bottleneck if has_bottlenecks else BasicBlock
        module = block(
          channels,
          stride if index == 0 else 1,
          (leading * grid, dilation * grid),
          self.dtype,
          name=f"layer{layer + 1}_{index}",
        )
        x = layers.run_block(module, x, train=train, remat=self.remat)
      features.append(x)
    return features

  def _stem(self, x: jax.Array, train: bool) -> jax.Array:
    """Halves the resolution; 2 * width channels (deep) or width (conv7)."""
    if self.stem == "conv7":
      convs = [("conv1", "bn1", self.width, 7, 2)]
    else:
      convs = [
        ("stem_conv1", "stem_bn1", self.width, 3, 2),
        ("stem_conv2", "stem_bn2", self.width, 3, 1),
        ("stem_conv3", "stem_bn3", 2 * self.width, 3, 1),
      ]
    for conv_name, bn_name, channels, kernel_size, stride in convs:
      x = layers.conv(
        channels, kernel_size, stride=stride, dtype=self.dtype, name=conv_name
      )(x)
      x = nn.relu(layers.BatchNorm(self.dtype, name=bn_name)(x, train=train))
    return x


def create(name: str, options: Options, *, dtype: Any, remat: bool) -> ResNet:
  """Builds one; see `ResNet`."""
  return ResNet(
    depth=_depth_of(name), dtype=dtype, remat=remat, **options.to_section()
  )


def list_layers(name: str, options: Options) -> tuple[tuple[str, ...], ...]:
  """The stem, then the blocks of layers 1-4 one by one."""
  blocks, _ = DEPTHS[_depth_of(name)]
  return (STEMS[options.stem],) + tuple(
    (f"layer{layer}_{index}",)
    for layer, count in enumerate(blocks, start=1)
    for index in range(count)
  )


def _depth_of(name: str) -> int:
  return int(name.removeprefix("resnet"))


def recognize(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
  """Tells depth, stem and width; see `models.encoders`.

  Single faulty entries are outvoted by the others. Stride and dilations of
  all published networks are the defaults.

  Raises:
    ValueError: no known ResNet has such blocks.
  """
  blocks, widths, has_bottlenecks = [0] * 4, [], False
  for name, shape in shapes.items():
    match = re.match(r"layer([1-4])\.(\d+)\.(.*)", name)
    if match:
      layer, index, entry = int(match[1]) - 1, int(match[2]), match[3]
      blocks[layer] = max(blocks[layer], index + 1)
      has_bottlenecks |= entry == "conv3.weight"
      if entry.startswith("bn1.") and len(shape) == 1:
        widths.append(shape[0] // 2**layer)
  for depth, plan in DEPTHS.items():
    if widths and plan == (tuple(blocks), has_bottlenecks):
      is_deep = any(re.match(r"conv1\.\d", name) for name in shapes)
      told = {
        "stem": "deep" if is_deep else "conv7",
        "width": statistics.mode(widths),
      }
      return f"resnet{depth}", told, ()
  kind = "bottleneck" if has_bottlenecks else "basic"
  raise ValueError(
    f"a ResNet of {blocks} {kind} blocks; known depths: "
    + ", ".join(map(str, DEPTHS))
  )
