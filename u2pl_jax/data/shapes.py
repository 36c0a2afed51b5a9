"""Few shapes for images of many sizes, so that few programs are compiled.

An image smaller than its shape is padded with the mean color, all round. Where
there are no more sizes than shapes, none is.
"""

import collections
import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

Size = tuple[int, int]  # Height, width in pixels.

_MANY = 256  # Shapes to begin with; the work grows with their third power.


def choose_shapes(sizes: Sequence[Size], max_shapes: int) -> dict[Size, Size]:
  """Chooses the shape that the images of each size are padded to.

  Begins with one shape a size, and merges the two that together cost the fewest
  added pixels, until few enough are left. Of very many sizes, sides are first
  rounded up to multiples of 2, 4, 8, ..., as far as it takes.

  Args:
    sizes: the sizes of all images, in any order.
    max_shapes: at least 1.

  Returns:
    The shape, at least as large, of each size that occurs.

  Raises:
    ValueError: `max_shapes` is below 1.
  """
  if max_shapes < 1:
    raise ValueError(f"max_shapes={max_shapes}: must be >= 1")
  first = _round_up(set(map(tuple, sizes)), max_shapes)
  counts = collections.Counter(first[tuple(size)] for size in sizes)
  members = [[shape] for shape in sorted(counts)]
  shapes = np.array(sorted(counts)).reshape(-1, 2)
  numbers = np.array([counts[shape] for shape in sorted(counts)])
  while len(members) > max_shapes:
    joint = np.maximum(shapes[:, None], shapes)  # [S, S, 2]
    pixels, own = joint.prod(-1), shapes.prod(-1)
    cost = (pixels - own[:, None]) * numbers[:, None]
    cost = (cost + cost.T).astype(float)
    np.fill_diagonal(cost, np.inf)
    one, other = sorted(np.unravel_index(cost.argmin(), cost.shape))
    members[one] += members.pop(other)
    shapes[one] = joint[one, other]
    numbers[one] += numbers[other]
    shapes = np.delete(shapes, other, axis=0)
    numbers = np.delete(numbers, other)
  last = {
    shape: (int(height), int(width))
    for (height, width), group in zip(shapes, members, strict=True)
    for shape in group
  }
  return {size: last[shape] for size, shape in first.items()}


def _round_up(sizes: Collection[Size], max_shapes: int) -> dict[Size, Size]:
  """The shape of each size, alike for sizes nearby if there are very many."""
  step = 1
  while True:
    shapes = {
      size: tuple(-(-side // step) * step for side in size) for size in sizes
    }
    if len(set(shapes.values())) <= max(_MANY, max_shapes):
      return shapes
    step *= 2


@dataclasses.dataclass(frozen=True)
class Plan:
  """Which images go into which batch; the same on every process.

  Attributes:
    shapes: [N] (height, width) of the images in each batch.
    images: [N, B] int64, positions of the images; -1 fills up a batch.
  """

  shapes: tuple[Size, ...]
  images: np.ndarray


def plan_batches(
  shapes: Sequence[Size],
  batch_size: int,
  wanted: Collection[int] | None = None,
) -> Plan:
  """Puts images of one shape together, each image into exactly one batch.

  Args:
    shapes: the shape of each image, in order.
    batch_size: how many images a batch holds.
    wanted: batches without any of these images are left out; None for none.

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
      if wanted is not None and set(part).isdisjoint(wanted):
        continue
      batches.append(part + [-1] * (batch_size - len(part)))
      batch_shapes.append(shape)
  images = np.array(batches, np.int64).reshape(-1, batch_size)
  return Plan(tuple(batch_shapes), images)
