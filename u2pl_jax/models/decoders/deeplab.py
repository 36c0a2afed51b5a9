"""DeepLabv3+ with classifier, representation and auxiliary heads."""

import dataclasses
import functools
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import layers
from u2pl_jax.ops import resize
from u2pl_jax.runtime import options as options_lib

NAMES = ("deeplab",)

# Numbers at the end of PyTorch's names are positions in a Sequential, where
# ReLU, dropout and pooling count as well.
TORCH_RULES = (
  (r"decoder/low_level/conv", r"decoder.low_conv.0"),
  (r"decoder/low_level/bn", r"decoder.low_conv.1"),
  (r"decoder/aspp/pool/conv", r"decoder.aspp.conv1.1"),
  (r"decoder/aspp/pool/bn", r"decoder.aspp.conv1.2"),
  (r"decoder/aspp/branch(\d+)/conv", r"decoder.aspp.conv\1.0"),
  (r"decoder/aspp/branch(\d+)/bn", r"decoder.aspp.conv\1.1"),
  (r"decoder/head/conv", r"decoder.head.0"),
  (r"decoder/head/bn", r"decoder.head.1"),
  (r"decoder/(classifier|representation)/block1/conv", r"decoder.\1.0"),
  (r"decoder/(classifier|representation)/block1/bn", r"decoder.\1.1"),
  (r"decoder/(classifier|representation)/block2/conv", r"decoder.\1.4"),
  (r"decoder/(classifier|representation)/block2/bn", r"decoder.\1.5"),
  (r"decoder/(classifier|representation)/output", r"decoder.\1.8"),
  (r"auxor/block1/conv", r"auxor.aux.0"),
  (r"auxor/block1/bn", r"auxor.aux.1"),
  (r"auxor/output", r"auxor.aux.4"),
)
TORCH_SIGN = r"decoder\.aspp\."
TORCH_OPTIONAL = ("auxor", "decoder.representation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Options of the decoder and its heads; the defaults are published."""

  SECTION: ClassVar[str] = "decoder"

  # Of the ASPP's branches, of the decoder and of the heads.
  channels: int = options_lib.setting(256, minimum=1)
  # That the encoder's first feature is projected to.
  low_level_channels: int = options_lib.setting(256, minimum=1)
  # D, width of the representation; 0 leaves that head out.
  rep_channels: int = options_lib.setting(256, minimum=0)
  # Dilations of the ASPP's 3x3 convs, pixels of the last feature.
  aspp_rates: tuple[int, ...] = options_lib.setting((12, 24, 36), minimum=1)
  # Probability that a channel is dropped, in [0, 1).
  dropout_rate: float = 0.1
  # Auxiliary head on the last feature but one; see loss.aux_weight.
  aux_head: bool = False

  def check(self) -> None:
    if not self.aspp_rates:
      raise ValueError("decoder.aspp_rates=(): must hold one rate or more")
    if not 0 <= self.dropout_rate < 1:
      raise ValueError(
        f"decoder.dropout_rate={self.dropout_rate}: must be in [0, 1)"
      )


class ConvBNReLU(nn.Module):
  """A square conv, batch normalization and ReLU."""

  channels: int
  kernel_size: int
  dilation: int = 1
  use_bias: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    fan_in = x.shape[-1] * self.kernel_size**2
    x = layers.conv(
      self.channels,
      self.kernel_size,
      dilation=self.dilation,
      init=layers.uniform_fan_in(fan_in),
      use_bias=self.use_bias,
      dtype=self.dtype,
      name="conv",
    )(x)
    return nn.relu(layers.BatchNorm(self.dtype, name="bn")(x, train=train))


class ASPP(nn.Module):
  """Atrous spatial pyramid pooling: global pool, 1x1 and dilated 3x3 convs.

  Attributes:
    channels: output channels of each branch.
    rates: dilations of the 3x3 branches, in feature pixels.
    dtype: compute dtype.

  Reference: Chen et al. 2017 (arXiv 1706.05587); U2PL u2pl/models/base.py.
  """

  channels: int
  rates: tuple[int, ...]
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps [B, h, w, C] to [B, h, w, (2 + len(rates)) * channels]."""
    pooled = jnp.mean(x, (1, 2), jnp.float32, keepdims=True)
    pooled = ConvBNReLU(self.channels, 1, dtype=self.dtype, name="pool")(
      pooled, train=train
    )
    # Interpolating a single pixel repeats it.
    branches = [jnp.broadcast_to(pooled, x.shape[:3] + (self.channels,))]
    branches.append(
      ConvBNReLU(self.channels, 1, dtype=self.dtype, name="branch2")(
        x, train=train
      )
    )
    for index, rate in enumerate(self.rates, start=3):
      branch = ConvBNReLU(
        self.channels, 3, rate, dtype=self.dtype, name=f"branch{index}"
      )
      branches.append(branch(x, train=train))
    return jnp.concatenate(branches, axis=-1)


class Head(nn.Module):
  """3x3 conv-BN-ReLU-dropout, repeated, then a 1x1 conv.

  Attributes:
    channels: of the 3x3 convs.
    out_channels: of the 1x1 conv.
    num_convs: how many 3x3 convs: 2 in the decoder, 1 in the auxiliary head.
    dropout_rate: probability that a channel is dropped.
    dtype: compute dtype.

  Reference: U2PL u2pl/models/decoder.py, `classifier`, `representation`,
    `Aux_Module`.
  """

  channels: int
  out_channels: int
  num_convs: int
  dropout_rate: float
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool, dropout: bool) -> jax.Array:
    """Maps [B, h, w, C] to float32 [B, h, w, out_channels]."""
    for index in range(1, self.num_convs + 1):
      x = ConvBNReLU(
        self.channels,
        3,
        use_bias=True,
        dtype=self.dtype,
        name=f"block{index}",
      )(x, train=train)
      x = layers.dropout_channels(
        x, self.dropout_rate, dropout=dropout, name=f"dropout{index}"
      )
    x = layers.conv(
      self.out_channels,
      1,
      init=layers.uniform_fan_in(x.shape[-1]),
      use_bias=True,
      dtype=self.dtype,
      name="output",
    )(x)
    return x.astype(jnp.float32)


class Decoder(nn.Module):
  """DeepLabv3+ decoder: ASPP on the last feature, fused with the first one.

  Attributes:
    num_classes: K.
    dtype: compute dtype.
    All others: as in `Options`.

  Reference: U2PL u2pl/models/decoder.py, `dec_deeplabv3_plus`.
  """

  num_classes: int
  channels: int
  low_level_channels: int
  rep_channels: int
  aspp_rates: tuple[int, ...]
  dropout_rate: float
  dtype: Any

  reads = (0, -1)

  @nn.compact
  def __call__(
    self, features: Sequence[jax.Array], *, train: bool, dropout: bool
  ) -> dict[str, jax.Array]:
    """Maps features to `logits` and `rep`, at the size of the first one."""
    low_level = ConvBNReLU(
      self.low_level_channels,
      1,
      use_bias=True,
      dtype=self.dtype,
      name="low_level",
    )(features[0], train=train)
    x = ASPP(self.channels, self.aspp_rates, self.dtype, name="aspp")(
      features[-1], train=train
    )
    x = ConvBNReLU(self.channels, 3, dtype=self.dtype, name="head")(
      x, train=train
    )
    x = layers.dropout_channels(
      x, self.dropout_rate, dropout=dropout, name="dropout"
    )
    x = resize.resize_bilinear(x, low_level.shape[1:3]).astype(self.dtype)
    x = jnp.concatenate([low_level, x], axis=-1)  # [B, h, w, low + channels]
    outputs = {"logits": ("classifier", self.num_classes)}
    if self.rep_channels:
      outputs["rep"] = ("representation", self.rep_channels)
    return {
      key: Head(
        self.channels, width, 2, self.dropout_rate, self.dtype, name=name
      )(x, train=train, dropout=dropout)
      for key, (name, width) in outputs.items()
    }


def check_strides(name: str, strides: Sequence[int]) -> None:
  """Raises ValueError if an encoder has a single feature, none to fuse.

  Args:
    name: of the decoder.
    strides: of the encoder's features.
  """
  if len(strides) < 2:
    raise ValueError(
      f"model.decoder={name!r}: fuses two features; the encoder has only one"
    )


def create(
  name: str,
  options: Options,
  *,
  num_classes: int,
  strides: Sequence[int],
  dtype: Any,
) -> tuple[Decoder, Head | None]:
  """The decoder, and the auxiliary head where the options ask for it.

  Raises:
    ValueError: the encoder has a single feature, of which none can be fused.
  """
  check_strides(name, strides)
  decoder = Decoder(
    num_classes,
    options.channels,
    options.low_level_channels,
    options.rep_channels,
    options.aspp_rates,
    options.dropout_rate,
    dtype,
  )
  if not options.aux_head:
    return decoder, None
  return decoder, Head(
    options.channels, num_classes, 1, options.dropout_rate, dtype
  )


def vote_for_size(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
  """Most frequent first dimension of the entries that a pattern fits, or 0."""
  sizes = [
    shape[0]
    for name, shape in shapes.items()
    if shape and re.fullmatch(pattern, name)
  ]
  return statistics.mode(sizes) if sizes else 0


def recognize(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[str, dict[str, Any], tuple[str, ...], int]:
  """Tells widths, heads and classes; see `models.decoders`.

  Single faulty entries are outvoted by the others. The dilations of three
  branches are the published ones.
  """

  vote = functools.partial(vote_for_size, shapes)
  branches = [
    int(match[1])
    for name in shapes
    if (match := re.match(r"decoder\.aspp\.conv(\d+)\.", name))
  ]
  told = {
    "channels": vote(r"decoder\.(aspp\.conv\d|head)\.1\.\w+"),
    "low_level_channels": vote(r"decoder\.low_conv\.\d\.\w+"),
    "rep_channels": vote(r"decoder\.representation\.8\.\w+"),
    "aux_head": any(name.startswith("auxor.") for name in shapes),
  }
  num_classes = vote(r"(decoder\.classifier\.8|auxor\.aux\.4)\.\w+")
  # The first two branches are not dilated.
  dilated = max(branches, default=2) - 2
  if dilated == len(Options().aspp_rates):
    return NAMES[0], told, (), num_classes
  told["aspp_rates"] = (1,) * dilated
  return NAMES[0], told, ("aspp_rates",), num_classes
