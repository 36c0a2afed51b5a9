"""The peak that operations are related to: a large matrix product."""

import time
from collections.abc import Callable

# Side of the square matrices; those of an accelerator are large.
_SIDES = {"cpu": 2048}
_LARGE_SIDE = 8192
_REPEATS = 5  # Of which the fastest counts.
# Seconds after which no other product is begun: some CPUs take half a minute
# for one in bfloat16.
_PATIENCE = 10.0


def choose_side(platform: str) -> int:
  """The side of the matrices, by the kind of device."""
  return _SIDES.get(platform, _LARGE_SIDE)


def measure(multiply: Callable[[], None], side: int) -> float:
  """The most floating-point operations a second of a product.

  Args:
    multiply: multiplies two matrices of this side, and waits for the product.
    side: rows and columns.
  """
  seconds = []
  # The first one may compile, or choose a kernel.
  while len(seconds) <= _REPEATS and sum(seconds) < _PATIENCE:
    start = time.perf_counter()
    multiply()
    seconds.append(time.perf_counter() - start)
  return 2 * side**3 / min(seconds)
