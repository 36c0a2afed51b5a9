"""DeepLabv3+ with classifier, representation and auxiliary heads."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import layers
from u2pl_jax.models.encoders import efficientnet_lite0, resnet
from u2pl_jax.ops import resize

RESNETS = {f"resnet{depth}": depth for depth in resnet.DEPTHS}
LITE0 = "efficientnet_lite0"
ENCODERS = (*RESNETS, LITE0)
DTYPES = ("float32", "bfloat16")


class ConvBNReLU(nn.Module):
  """A square conv, batch normalisation and ReLU."""

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
  """DeepLabv3+ decoder: ASPP on layer 4, fused with layer 1, two heads.

  Attributes as in `create_model`.

  Reference: U2PL u2pl/models/decoder.py, `dec_deeplabv3_plus`.
  """

  num_classes: int
  channels: int
  low_level_channels: int
  rep_channels: int
  aspp_rates: tuple[int, ...]
  dropout_rate: float
  dtype: Any

  @nn.compact
  def __call__(
    self, features: Sequence[jax.Array], *, train: bool, dropout: bool
  ) -> dict[str, jax.Array]:
    """Maps the features of layers 1-4 to logits and representation."""
    low_level = ConvBNReLU(
      self.low_level_channels,
      1,
      use_bias=True,
      dtype=self.dtype,
      name="low_level",
    )(features[0], train=train)
    x = ASPP(self.channels, self.aspp_rates, self.dtype, name="aspp")(
      features[3], train=train
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


class DeepLabV3Plus(nn.Module):
  """Encoder, DeepLabv3+ decoder and optional heads; see `create_model`.

  Attributes:
    num_classes: K, from 2 to 255 (label 255 means ignore).
    backbone: "resnet18", "resnet34", "resnet50", "resnet101" or
      "efficientnet_lite0", which has no choice of stem, width or multi_grid.
    stem: "deep" (three 3x3 convs) or "conv7" (torchvision's 7x7 conv) of a
      ResNet; "conv3" of EfficientNet.
    width: base number of ResNet channels, 64 as published.
    output_stride: 8, 16 or 32, input pixels per pixel of layer 4.
    multi_grid: multiply the dilations of a ResNet's layer 4 by 2, 2, 4.
    decoder_channels: width of ASPP branches, of the decoder and of the heads.
    low_level_channels: channels that layer 1 is projected to.
    rep_channels: D, width of the representation; 0 leaves the head out.
    aux_head: add the auxiliary head on layer 3.
    aspp_rates: dilations of the ASPP's 3x3 convs, in layer-4 pixels.
    dropout_rate: probability in [0, 1) that a channel is dropped.
    dtype: of the computation, float32 or bfloat16; parameters, statistics and
      outputs are float32 always.
    remat: compute the encoder's blocks again in the backward pass.

  Reference: U2PL u2pl/models/model_helper.py, `ModelBuilder`.
  """

  num_classes: int
  backbone: str
  stem: str
  width: int
  output_stride: int
  multi_grid: bool
  decoder_channels: int
  low_level_channels: int
  rep_channels: int
  aux_head: bool
  aspp_rates: tuple[int, ...]
  dropout_rate: float
  dtype: Any
  remat: bool

  @nn.compact
  def __call__(
    self, images: jax.Array, *, train: bool, dropout: bool
  ) -> dict[str, jax.Array]:
    """Runs the network.

    Args:
      images: float [B, H, W, 3], RGB, normalised by mean and deviation.
      train: use batch statistics, and record them in the collection
        "batch_stats", which must then be mutable.
      dropout: drop channels with the rng stream "dropout".

    Returns:
      float32 arrays: `logits` [B, h, w, K] (raw), at stride 4;
      `rep` [B, h, w, D], unless `rep_channels` is 0; `aux` [B, h3, w3, K]
      (raw) at layer 3's size, with `aux_head`.

    Raises:
      ValueError: if `images` are not [B, H, W, 3].
    """
    if images.ndim != 4 or images.shape[-1] != 3:
      raise ValueError(f"images must be [B, H, W, 3], got {images.shape}")
    features = self._encoder()(images, train=train)
    outputs = Decoder(
      self.num_classes,
      self.decoder_channels,
      self.low_level_channels,
      self.rep_channels,
      self.aspp_rates,
      self.dropout_rate,
      self.dtype,
      name="decoder",
    )(features, train=train, dropout=dropout)
    if self.aux_head:
      outputs["aux"] = Head(
        self.decoder_channels,
        self.num_classes,
        1,
        self.dropout_rate,
        self.dtype,
        name="auxor",
      )(features[2], train=train, dropout=dropout)
    return outputs

  def _encoder(self) -> nn.Module:
    if self.backbone == LITE0:
      return efficientnet_lite0.EfficientNetLite0(
        self.output_stride, self.dtype, self.remat, name="encoder"
      )
    return resnet.ResNet(
      RESNETS[self.backbone],
      self.stem,
      self.width,
      self.output_stride,
      self.multi_grid,
      self.dtype,
      self.remat,
      name="encoder",
    )


def _check(is_valid: bool, key: str, value: Any, allowed: str) -> None:
  if not is_valid:
    raise ValueError(f"model.{key} must be {allowed}, got {value!r}")


def _check_encoder(
  encoder: str, stem: str, width: int, multi_grid: bool
) -> None:
  """Refuses what the encoder lacks, rather than ignore it."""
  _check(encoder in ENCODERS, "encoder", encoder, f"one of {ENCODERS}")
  if encoder != LITE0:
    allowed = f"one of {resnet.STEMS} with encoder {encoder!r}"
    _check(stem in resnet.STEMS, "stem", stem, allowed)
    return
  for key, value, only in (
    ("stem", stem, efficientnet_lite0.STEM),
    ("width", width, 64),
    ("multi_grid", multi_grid, False),
  ):
    _check(value == only, key, value, f"{only!r} with encoder {encoder!r}")


def create_model(
  *,
  num_classes: int,
  encoder: str = "resnet101",
  stem: str = "deep",
  width: int = 64,
  output_stride: int = 8,
  multi_grid: bool = True,
  decoder_channels: int = 256,
  low_level_channels: int = 256,
  rep_channels: int = 256,
  aux_head: bool = False,
  aspp_rates: Sequence[int] = (12, 24, 36),
  dropout_rate: float = 0.1,
  dtype: str = "float32",
  remat: bool = False,
) -> DeepLabV3Plus:
  """Checks the options and builds the network; the defaults are published.

  Args:
    encoder: the attribute `backbone` of `DeepLabV3Plus`.
    dtype: "float32" or "bfloat16".
    All others: as the attributes of the same names.

  Raises:
    ValueError: names the key whose value is out of range.
  """
  _check_encoder(encoder, stem, width, multi_grid)
  for key, value, choices in (
    ("output_stride", output_stride, layers.OUTPUT_STRIDES),
    ("dtype", dtype, DTYPES),
  ):
    _check(value in choices, key, value, f"one of {choices}")
  for key, value, minimum in (
    ("width", width, 1),
    ("decoder_channels", decoder_channels, 1),
    ("low_level_channels", low_level_channels, 1),
    ("rep_channels", rep_channels, 0),
    ("aspp_rates", min(aspp_rates, default=0), 1),
  ):
    _check(value >= minimum, key, value, f"at least {minimum}")
  _check(2 <= num_classes <= 255, "num_classes", num_classes, "from 2 to 255")
  _check(0 <= dropout_rate < 1, "dropout_rate", dropout_rate, "in [0, 1)")
  return DeepLabV3Plus(
    num_classes=num_classes,
    backbone=encoder,
    stem=stem,
    width=width,
    output_stride=output_stride,
    multi_grid=multi_grid,
    decoder_channels=decoder_channels,
    low_level_channels=low_level_channels,
    rep_channels=rep_channels,
    aux_head=aux_head,
    aspp_rates=tuple(aspp_rates),
    dropout_rate=dropout_rate,
    dtype=jnp.dtype(dtype),
    remat=remat,
  )
