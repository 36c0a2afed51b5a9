"""An encoder of 14x14 patches without batch norm, to test the contract with."""

import dataclasses
from typing import Any, ClassVar

import jax
from flax import linen as nn

from u2pl_jax.runtime import options

NAMES = ("tests.toy_encoder",)
MEAN_RGB = (100.0, 110.0, 120.0)
STD_RGB = (50.0, 60.0, 70.0)
MULTIPLE = 14


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
  SECTION: ClassVar[str] = "encoder"

  dim: int = options.setting(8, minimum=1)


class PatchEncoder(nn.Module):
  dim: int
  dtype: Any
  strides: ClassVar[tuple[int, ...]] = (MULTIPLE,) * 3

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
    del train
    if images.shape[1] % MULTIPLE or images.shape[2] % MULTIPLE:
      raise ValueError(f"{images.shape}: sides must be multiples of {MULTIPLE}")
    patch = (MULTIPLE, MULTIPLE)
    features = [
      nn.Conv(self.dim, patch, patch, "VALID", dtype=self.dtype, name="patch")(
        images
      )
    ]
    for index in range(2):
      layer = nn.Dense(self.dim, dtype=self.dtype, name=f"block{index}")
      features.append(features[-1] + nn.gelu(layer(features[-1])))
    return features


def create(name, options, *, dtype, remat):
  del name, remat
  return PatchEncoder(options.dim, dtype)


def list_layers(name, options):
  del name, options
  return (("patch",), ("block0",), ("block1",))
