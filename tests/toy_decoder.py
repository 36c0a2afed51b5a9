"""A linear decoder without batch norm, to test the contract with."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.runtime import options

NAMES = ("tests.toy_decoder",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
  SECTION: ClassVar[str] = "decoder"

  rep_channels: int = options.setting(4, minimum=0)


class Linear(nn.Module):
  num_classes: int
  rep_channels: int
  dtype: Any

  reads = (-1,)

  @nn.compact
  def __call__(self, features, *, train, dropout):
    del train, dropout
    widths = {"logits": self.num_classes, "rep": self.rep_channels}
    return {
      name: nn.Dense(width, dtype=self.dtype, name=name)(features[-1]).astype(
        jnp.float32
      )
      for name, width in widths.items()
      if width
    }


def create(name, options, *, num_classes, strides, dtype):
  del name, strides
  return Linear(num_classes, options.rep_channels, dtype), None
