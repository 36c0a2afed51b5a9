"""Few shapes for images of many sizes, so that few programs are compiled.

An image smaller than its shape is padded with the mean colour, all round. Where
there are no more sizes than shapes, none is.
"""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

Size = tuple[int, int]  # Height, width in pixels.


def choose_shapes(sizes: Sequence[Size], max_shapes: int) -> dict[Size, Size]:
  """Chooses the shape that the images of each size are padded to.

  Begins with one shape a size, and merges the two that together cost the fewest
  added pixels, until few enough are left.

  Args:
    sizes: of all images, in any order.
    max_shapes: at least 1.

  Returns:
    The shape, at least as large, of each size that occurs.

  Raises:
    ValueError: `max_shapes` is below 1.
  """
  if max_shapes < 1:
    raise ValueError(f"eval.max_shapes={max_shapes}: must be >= 1")
  counts = collections.Counter(map(tuple, sizes))
  members = [[size] for size in sorted(counts)]
  shapes = np.array(sorted(counts)).reshape(-1, 2)
  numbers = np.array([counts[size] for size in sorted(counts)])
  while len(members) > max_shapes:
    joint = np.maximum(shapes[:, None], shapes)  # [S, S, 2]
    pixels, own = joint.prod(-1), shapes.prod(-1)
    cost = (pixels - own[:, None]) * numbers[:, None]
    cost = (cost + cost.T).astype(float)
    np.fill_diagonal(cost, np.inf)
    first, second = sorted(np.unravel_index(cost.argmin(), cost.shape))
    members[first] += members.pop(second)
    shapes[first] = joint[first, second]
    numbers[first] += numbers[second]
    shapes = np.delete(shapes, second, axis=0)
    numbers = np.delete(numbers, second)
  return {
    size: (int(height), int(width))
    for (height, width), group in zip(shapes, members, strict=True)
    for size in group
  }


@dataclasses.dataclass(frozen=True)
class Plan:
  """Which images go into which batch; the same on every process.

  Attributes:
    shapes: [N] (height, width) of the images in each batch.
    images: [N, B] int64, positions of the images; -1 fills up a batch.
  """

  shapes: tuple[Size, ...]
  images: np.ndarray


def plan_batches(shapes: Sequence[Size], batch_size: int) -> Plan:
  """Puts images of one shape together, each image into exactly one batch.

  Args:
    shapes: of each image, in order.
    batch_size: images a batch.

  Returns:
    A plan; within a shape the images keep their order.
  """
  groups = collections.defaultdict(list)
  for index, shape in enumerate(shapes):
    groups[tuple(shape)].append(index)
  batches, batch_shapes = [], []
  for shape in sorted(groups):
    group = groups[shape]
    for start in range(0, len(group), batch_size):
      part = group[start : start + batch_size]
      batches.append(part + [-1] * (batch_size - len(part)))
      batch_shapes.append(shape)
  images = np.array(batches, np.int64).reshape(-1, batch_size)
  return Plan(tuple(batch_shapes), images)
