"""Which windows cover an image, and how much each of their pixels counts."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from u2pl_jax.evaluation import inference, protocol


@dataclasses.dataclass(frozen=True)
class Side:
  """The windows along one side of an image.

  Attributes:
    length: of the side, in pixels.
    starts: [N] where the windows begin; below 0 in padding.
    weights: float32 [N, window]; for each pixel of each window 1 by the number
      of windows that hold the pixel, and 0 in padding.
  """

  length: int
  starts: np.ndarray
  weights: np.ndarray

  @property
  def window(self) -> int:
    """Length of the windows' side, in pixels."""
    return self.weights.shape[1]

  def inside(self, start: int) -> tuple[slice, slice]:
    """The part of a window that is image: in the image, and in the window."""
    first, last = max(start, 0), min(start + self.window, self.length)
    return slice(first, last), slice(first - start, last - start)


def lay_windows(length: int, window: int, stride_rate: float) -> Side:
  """Windows as those of `inference.slide`, along one side.

  Args:
    length: of the side, in pixels; if shorter than the window, it is padded.
    window: length of the windows' side, in pixels.
    stride_rate: see `inference.window_starts`.
  """
  padded = max(length, window)
  before = (padded - length) // 2
  starts = np.array(inference.window_starts(padded, window, stride_rate))
  places = starts[:, None] + np.arange(window)
  count = np.bincount(places.ravel(), minlength=padded)
  share = np.zeros(padded, np.float32)
  own = slice(before, before + length)
  share[own] = 1 / count[own]
  return Side(length, starts - before, share[places])


@dataclasses.dataclass(frozen=True)
class Grid:
  """All windows of an image.

  Attributes:
    rows: its windows from top to bottom.
    columns: those from left to right.
    flip: whether the mirrored image is seen as well.
  """

  rows: Side
  columns: Side
  flip: bool

  @property
  def num_windows(self) -> int:
    """Mirrored ones as well."""
    return len(self.rows.starts) * len(self.columns.starts) * (1 + self.flip)


@dataclasses.dataclass(frozen=True)
class Window:
  """One window: which one of the rows, which one of the columns.

  Attributes:
    row: index within `Grid.rows`.
    column: index within `Grid.columns`.
    mirrored: whether it is one of the mirrored image.
  """

  row: int
  column: int
  mirrored: bool


def lay_grid(size: tuple[int, int], seen: protocol.Protocol) -> Grid:
  """The windows of an image.

  Args:
    size: (height, width) of the image, in pixels.
    seen: size and stride of the windows, and whether mirrored ones count too.
  """
  rows, columns = (
    lay_windows(length, window, seen.stride_rate)
    for length, window in zip(size, seen.window, strict=True)
  )
  return Grid(rows, columns, seen.flip)


def order(grid: Grid) -> Iterator[Window]:
  """All windows, from top to bottom."""
  for row in range(len(grid.rows.starts)):
    for mirrored in (False, True)[: 1 + grid.flip]:
      for column in range(len(grid.columns.starts)):
        yield Window(row, column, mirrored)
