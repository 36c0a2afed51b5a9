"""The head of DPT: four features of one size become a pyramid, then one map.

Reference: Ranftl et al. 2021 (arXiv 2103.13413) as in UniMatch V2 (arXiv
  2410.10777; github.com/LiheYoung/UniMatch-V2, commit f6afb4d),
  model/semseg/dpt.py and model/util/blocks.py.
"""

import dataclasses
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import layers
from u2pl_jax.ops import lean, resize
from u2pl_jax.runtime import options as options_lib

NAMES = ("dpt",)
NUM_FEATURES = 4
# Published widths by that of the encoder: of the four projections, of the rest.
WIDTHS = {
  384: ((48, 96, 192, 384), 64),
  768: ((96, 192, 384, 768), 128),
  1024: ((256, 512, 1024, 1024), 256),
  1536: ((1536,) * 4, 384),
}
# Strides of the transposed convolutions of the first two features.
_UPSAMPLING = (4, 2)
# The deepest fusion has nothing to add; each published file has this unit of
# it all the same.
IDLE = ("refinenet4/resConfUnit1",)

TORCH_RULES = (
  (r"decoder/(projects|resize_layers)_(\d)", r"decoder.\1.\2"),
  (r"decoder/(layer\d_rn)", r"decoder.scratch.\1"),
  (r"decoder/(refinenet\d)/out_conv", r"decoder.scratch.\1.out_conv"),
  (
    r"decoder/(refinenet\d)/(resConfUnit\d)/(conv\d)",
    r"decoder.scratch.\1.\2.\3",
  ),
  (r"decoder/output_conv/conv_(\d)", r"decoder.scratch.output_conv.\1"),
  (r"decoder/representation/conv_(\d)", r"decoder.representation.\1"),
)
TORCH_SIGN = r"decoder\.scratch\."
TORCH_OPTIONAL = ("decoder.representation",)
TORCH_FILE = {
  "encoder": "backbone.",
  "decoder": "head.",
  "teacher": "model_ema",
  "student": "model",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Options of the DPT head."""

  SECTION: ClassVar[str] = "decoder"

  # Widths of the four projections; () for the published ones, which depend on
  # the encoder's width.
  projections: tuple[int, ...] = options_lib.setting((), minimum=1)
  # Width of all that follows; 0 for the published one.
  channels: int = options_lib.setting(0, minimum=0)
  # D, width of the representation; 0 leaves that head out.
  rep_channels: int = options_lib.setting(256, minimum=0)

  def check(self) -> None:
    if self.projections and len(self.projections) != NUM_FEATURES:
      raise ValueError(
        f"decoder.projections={self.projections}: must be {NUM_FEATURES}"
        " widths, or () for the published ones"
      )


def _conv(
  features: int, kernel_size: int, x: jax.Array, dtype: Any, name: str, **kwargs
) -> jax.Array:
  """Calls a convolution with PyTorch's default initialization."""
  return layers.conv(
    features,
    kernel_size,
    init=layers.uniform_fan_in(kernel_size**2 * x.shape[-1]),
    dtype=dtype,
    name=name,
    **{"use_bias": True} | kwargs,
  )(x)


class TransposedConv(nn.Module):
  """A transposed convolution whose stride is its kernel's side.

  No outputs overlap, so that it is a product of channels. The kernel's axes
  are [row, column, output, input], which PyTorch has as [I, O, row, column].
  """

  features: int
  side: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, h, w, I] to [B, h * side, w * side, O]."""
    # PyTorch takes the second axis of its kernels, here O, for the inputs.
    init = layers.uniform_fan_in(self.side**2 * self.features)
    kernel = self.param(
      "kernel", init, (self.side, self.side, self.features, x.shape[-1])
    )
    bias = self.param("bias", init, (self.features,))
    batch, height, width, _ = x.shape
    x = jnp.einsum("bhwi,yxoi->bhywxo", x, kernel.astype(self.dtype))
    x = x.reshape(batch, height * self.side, width * self.side, -1)
    return x + bias.astype(self.dtype)


class ResidualUnit(nn.Module):
  """x + conv(relu(conv(relu(x)))): what is added is not rectified."""

  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = x
    for name in ("conv1", "conv2"):
      y = _conv(x.shape[-1], 3, lean.relu(y), self.dtype, name)
    return x + y


class Fusion(nn.Module):
  """Adds a finer map to a coarser one and brings both to a larger size.

  Called with the coarser map, the finer one or None, and the size.
  """

  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, finer: jax.Array | None, size: Sequence[int]
  ) -> jax.Array:
    first = ResidualUnit(self.dtype, name="resConfUnit1")
    if finer is not None:
      x = x + first(finer)
    elif self.is_initializing():
      first(x)  # Makes its parameters, which each file has.
    x = ResidualUnit(self.dtype, name="resConfUnit2")(x)
    x = resize.resize_bilinear(x, tuple(size)).astype(self.dtype)
    return _conv(x.shape[-1], 1, x, self.dtype, "out_conv")


class Head(nn.Module):
  """A 3x3 convolution, ReLU, and a 1x1 convolution to float32."""

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = lean.relu(_conv(x.shape[-1], 3, x, self.dtype, "conv_0"))
    x = _conv(self.features, 1, x, self.dtype, "conv_2")
    return x.astype(jnp.float32)


class DPT(nn.Module):
  """The head, for features of stride 14: logits have stride 14/8.

  The representation head reads the fused map before the last upsampling, of
  stride 14/4, the one nearest to the stride of 4 at which U2PL compares pixels
  on a DeepLabv3+: the last fusion only interpolates from there on, so that at
  the logits' size four times as many keys of near copies would fill banks and
  memory. Its two convolutions are those of the classifier.

  Attributes:
    num_classes: K.
    projections, channels: see `Options`.
    rep_channels: D, width of the representation; 0 for none.
    dtype: compute dtype.
  """

  num_classes: int
  projections: tuple[int, ...]
  channels: int
  rep_channels: int
  dtype: Any
  reads = (0, 1, 2, 3)

  @nn.compact
  def __call__(
    self, features: Sequence[jax.Array], *, train: bool, dropout: bool
  ) -> dict[str, jax.Array]:
    """Maps four features [B, h, w, C] to float32 arrays.

    Returns:
      `logits` [B, 8h, 8w, K] and, unless `rep_channels` is 0, `rep`
      [B, 4h, 4w, D].
    """
    del train, dropout
    projections, channels = self._widths(features[0].shape[-1])
    maps = []
    for index, x in enumerate(features):
      x = _conv(projections[index], 1, x, self.dtype, f"projects_{index}")
      x = self._resample(index, x)
      name = f"layer{index + 1}_rn"
      maps.append(_conv(channels, 3, x, self.dtype, name, use_bias=False))
    x, outputs = maps[3], {}
    for index in (3, 2, 1, 0):
      if index == 0 and self.rep_channels:
        head = Head(self.rep_channels, self.dtype, name="representation")
        outputs["rep"] = head(x)
      larger = maps[index - 1] if index else x
      size = [side * (1 if index else 2) for side in larger.shape[1:3]]
      fusion = Fusion(self.dtype, name=f"refinenet{index + 1}")
      x = fusion(x, maps[index] if index < 3 else None, size)
    head = Head(self.num_classes, self.dtype, name="output_conv")
    return {"logits": head(x)} | outputs

  def _widths(self, width: int) -> tuple[tuple[int, ...], int]:
    """Of projections and all that follows, for features of `width` channels.

    Raises:
      ValueError: none are published, and none set; one line.
    """
    known, channels = WIDTHS.get(width, ((), 0))
    widths = self.projections or known, self.channels or channels
    if not all(widths):
      raise ValueError(
        f"decoder.projections={self.projections}, decoder.channels="
        f"{self.channels}: no widths are published for an encoder of {width}"
        " channels; set both"
      )
    return widths

  def _resample(self, index: int, x: jax.Array) -> jax.Array:
    """A projected feature at the size of its level of the pyramid."""
    width, name = x.shape[-1], f"resize_layers_{index}"
    if index < len(_UPSAMPLING):
      return TransposedConv(width, _UPSAMPLING[index], self.dtype, name=name)(x)
    if index == NUM_FEATURES - 1:
      return _conv(width, 3, x, self.dtype, name, stride=2)
    return x


def create(
  name: str,
  options: Options,
  *,
  num_classes: int,
  strides: Sequence[int],
  dtype: Any,
) -> tuple[DPT, None]:
  """The head; it has no auxiliary one.

  Raises:
    ValueError: the encoder's features are not four of one stride.
  """
  if len(strides) != NUM_FEATURES or len(set(strides)) != 1:
    raise ValueError(
      f"model.decoder={name!r}: needs {NUM_FEATURES} features of one stride;"
      f" those of this encoder have strides {tuple(strides)}; choose another"
      " model.decoder or a vision transformer as model.encoder"
    )
  return DPT(
    num_classes,
    options.projections,
    options.channels,
    options.rep_channels,
    dtype,
  ), None


def recognize(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[str, dict[str, Any], tuple[str, ...], int]:
  """Tells widths, heads and classes; see `models.decoders`.

  Single faulty entries are outvoted by the others.
  """

  def vote(pattern: str) -> int:
    """Most frequent first dimension of the entries; 0 without any."""
    sizes = [
      shape[0]
      for name, shape in shapes.items()
      if shape and re.fullmatch(pattern, name)
    ]
    return statistics.mode(sizes) if sizes else 0

  told = {
    "projections": tuple(
      vote(rf"decoder\.projects\.{index}\.\w+") for index in range(NUM_FEATURES)
    ),
    "channels": vote(r"decoder\.scratch\.refinenet\d\..+"),
    "rep_channels": vote(r"decoder\.representation\.2\.\w+"),
  }
  return NAMES[0], told, (), vote(r"decoder\.scratch\.output_conv\.2\.\w+")
