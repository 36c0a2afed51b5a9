"""What our sides share: their hardware, memory, and the peak of products."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import matmul


def describe(
  *, dtype: str, flops: int, shapes: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
  """What a side says of itself, once all else is measured.

  Args:
    dtype: of its products.
    flops: of a call.
    shapes: of its inputs.
  """
  device = jax.devices()[0]
  statistics = device.memory_stats() or {}
  told = {
    "platform": device.platform,
    "device": device.device_kind,
    "dtype": dtype,
    "shapes": {name: list(shape) for name, shape in shapes.items()},
    "flops": flops,
  }
  if "peak_bytes_in_use" in statistics:
    told["device_peak_mib"] = statistics["peak_bytes_in_use"] / 2**20
  return told | {"matmul_flops_per_second": measure_matmul(dtype)}


def measure_matmul(dtype: str) -> float:
  """The most floating-point operations a second of a large matrix product."""
  side = matmul.choose_side(jax.devices()[0].platform)
  product, matrix = jax.jit(jnp.matmul), jnp.ones((side, side), dtype)
  return matmul.measure(
    lambda: product(matrix, matrix).block_until_ready(), side
  )


def shapes_of(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
  """Name -> shape."""
  return {name: tuple(array.shape) for name, array in arrays.items()}
