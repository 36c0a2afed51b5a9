"""The slimmer DeepLabv3+ of UniMatch: a 1x1 projection and one classifier.

Reference: github.com/LiheYoung/UniMatch, commit 0324f3d,
  model/semseg/deeplabv3plus.py.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.models import layers
from u2pl_jax.models.decoders import deeplab
from u2pl_jax.ops import resize
from u2pl_jax.runtime import options as options_lib

NAMES = ("deeplab_slim",)

# Numbers at the end of PyTorch's names are positions in a Sequential, where
# ReLU counts as well.
TORCH_RULES = (
  (r"decoder/reduce/conv", r"decoder.reduce.0"),
  (r"decoder/reduce/bn", r"decoder.reduce.1"),
  (r"decoder/pyramid/pool/conv", r"decoder.head.b4.gap.1"),
  (r"decoder/pyramid/pool/bn", r"decoder.head.b4.gap.2"),
  (r"decoder/pyramid/branch(\d)/conv", r"decoder.head.b\1.0"),
  (r"decoder/pyramid/branch(\d)/bn", r"decoder.head.b\1.1"),
  (r"decoder/project/conv", r"decoder.head.project.0"),
  (r"decoder/project/bn", r"decoder.head.project.1"),
  (r"decoder/fuse1/conv", r"decoder.fuse.0"),
  (r"decoder/fuse1/bn", r"decoder.fuse.1"),
  (r"decoder/fuse2/conv", r"decoder.fuse.3"),
  (r"decoder/fuse2/bn", r"decoder.fuse.4"),
  (r"decoder/classifier", r"decoder.classifier"),
)
TORCH_SIGN = r"decoder\.head\.project\."
TORCH_OPTIONAL = ()
TORCH_FILE = {
  "encoder": "backbone.",
  "decoder": "",
  "teacher": "model_ema",
  "student": "model",
}
TORCH_ENCODER = {"output_stride": 16, "multi_grid": False, "pool_ceil": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Options of the decoder; the defaults are published."""

  SECTION: ClassVar[str] = "decoder"

  # Of the pyramid's branches and of all that follows.
  channels: int = options_lib.setting(256, minimum=1)
  # That the encoder's first feature is projected to.
  low_level_channels: int = options_lib.setting(48, minimum=1)
  # Dilations of the pyramid's three 3x3 convs, pixels of the last feature.
  aspp_rates: tuple[int, ...] = options_lib.setting(
    (6, 12, 18), length=3, minimum=1
  )


class Pyramid(nn.Module):
  """A 1x1 conv, three dilated 3x3 convs, and the mean, in this order.

  Attributes:
    channels: output channels of each branch.
    rates: dilations of the 3x3 branches, in feature pixels.
    dtype: compute dtype.

  Reference: `ASPPModule`.
  """

  channels: int
  rates: tuple[int, ...]
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps [B, h, w, C] to [B, h, w, 5 * channels]."""
    branches = []
    for index, rate in enumerate((1, *self.rates)):
      branch = deeplab.ConvBNReLU(
        self.channels,
        3 if index else 1,
        rate,
        dtype=self.dtype,
        name=f"branch{index}",
      )
      branches.append(branch(x, train=train))
    pooled = jnp.mean(x, (1, 2), jnp.float32, keepdims=True)
    pooled = deeplab.ConvBNReLU(
      self.channels, 1, dtype=self.dtype, name="pool"
    )(pooled, train=train)
    # Interpolating a single pixel repeats it.
    branches.append(jnp.broadcast_to(pooled, branches[0].shape))
    return jnp.concatenate(branches, axis=-1)


class Decoder(nn.Module):
  """Maps features to `logits`, at the size of the first one.

  Attributes:
    num_classes: K.
    dtype: compute dtype.
    All others: as in `Options`.
  """

  num_classes: int
  channels: int
  low_level_channels: int
  aspp_rates: tuple[int, ...]
  dtype: Any

  reads = (0, -1)
  rep_channels = 0  # There is no such head.

  @nn.compact
  def __call__(
    self, features: Sequence[jax.Array], *, train: bool, dropout: bool
  ) -> dict[str, jax.Array]:
    del dropout  # There is none.

    def block(channels, kernel_size, x, name):
      return deeplab.ConvBNReLU(
        channels, kernel_size, dtype=self.dtype, name=name
      )(x, train=train)

    x = Pyramid(self.channels, self.aspp_rates, self.dtype, name="pyramid")(
      features[-1], train=train
    )
    x = block(self.channels, 1, x, "project")
    x = resize.resize_bilinear(x, features[0].shape[1:3]).astype(self.dtype)
    low_level = block(self.low_level_channels, 1, features[0], "reduce")
    x = jnp.concatenate([low_level, x], axis=-1)
    for name in ("fuse1", "fuse2"):
      x = block(self.channels, 3, x, name)
    logits = layers.conv(
      self.num_classes,
      1,
      init=layers.uniform_fan_in(self.channels),
      use_bias=True,
      dtype=self.dtype,
      name="classifier",
    )(x)
    return {"logits": logits.astype(jnp.float32)}


def create(
  name: str,
  options: Options,
  *,
  num_classes: int,
  strides: Sequence[int],
  dtype: Any,
) -> tuple[Decoder, None]:
  """The decoder; it has no auxiliary head.

  Raises:
    ValueError: the encoder has a single feature, of which none can be fused.
  """
  deeplab.check_strides(name, strides)
  return Decoder(num_classes, dtype=dtype, **options.to_section()), None


def recognize(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[str, dict[str, Any], tuple[str, ...], int]:
  """Tells widths and classes; see `models.decoders`.

  Single faulty entries are outvoted by the others. The dilations of all
  published networks are the defaults.
  """
  vote = functools.partial(deeplab.vote_for_size, shapes)
  told = {
    "channels": vote(r"decoder\.(head\.b\d|fuse)\.\d\.\w+"),
    "low_level_channels": vote(r"decoder\.reduce\.\d\.\w+"),
  }
  return NAMES[0], told, (), vote(r"decoder\.classifier\.\w+")
