"""Reads run lengths as Label Studio does, bit by bit."""

import numpy as np


def unpack(packed, size):
  """uint8 [H, W], the alpha channel."""
  bits = iter("".join(f"{byte:08b}" for byte in packed))

  def read(count):
    return int("".join(next(bits) for _ in range(count)), 2)

  length = read(32)
  word = read(5) + 1
  sizes = [read(4) + 1 for _ in range(4)]
  values = []
  while len(values) < length:
    is_run = read(1)
    count = read(sizes[read(2)]) + 1
    if is_run:
      values += [read(word)] * count
    else:
      values += [read(word) for _ in range(count)]
  assert len(values) == length
  return np.array(values, np.uint8).reshape(*size, 4)[..., 3]
