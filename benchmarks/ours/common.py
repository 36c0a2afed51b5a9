"""What our sides share: their hardware, memory, and the peak of products."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Side of the square matrices of the peak; those of an accelerator are large.
_SIDES = {"cpu": 2048}
_LARGE_SIDE = 8192
_REPEATS = 5  # Of which the fastest counts.


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
  side = _SIDES.get(jax.devices()[0].platform, _LARGE_SIDE)
  multiply = jax.jit(jnp.matmul)
  matrix = jnp.ones((side, side), dtype)
  seconds = []
  for _ in range(1 + _REPEATS):
    start = time.perf_counter()
    multiply(matrix, matrix).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * side**3 / min(seconds[1:])


def shapes_of(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
  """Name -> shape."""
  return {name: tuple(array.shape) for name, array in arrays.items()}
