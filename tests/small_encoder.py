"""An encoder of three convolutions with batch norm, which compiles at once.

For tests of all that a network is a part of: the steps, the loop, evaluation.
"""

import dataclasses
from typing import Any, ClassVar

import jax
from flax import linen as nn

from u2pl_jax.models import layers
from u2pl_jax.runtime import options

NAMES = ("tests.small_encoder",)
MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)
MULTIPLE = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
  SECTION: ClassVar[str] = "encoder"

  width: int = options.setting(4, minimum=1)


class SmallEncoder(nn.Module):
  width: int
  dtype: Any
  strides: ClassVar[tuple[int, ...]] = (4, 8, 16)

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
    features = [images.astype(self.dtype)]
    for index, stride in enumerate((4, 2, 2)):
      layer = layers.conv(
        self.width * 2**index,
        3,
        stride=stride,
        dtype=self.dtype,
        name=f"conv{index}",
      )
      norm = layers.BatchNorm(self.dtype, name=f"bn{index}")
      features.append(nn.relu(norm(layer(features[-1]), train=train)))
    return features[1:]


def create(name, options, *, dtype, remat):
  del name, remat
  return SmallEncoder(options.width, dtype)


def list_layers(name, options):
  del name, options
  return tuple((f"conv{index}", f"bn{index}") for index in range(3))
