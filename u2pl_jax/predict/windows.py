"""Images of any size, seen in windows; memory grows with their width alone.

As `evaluation.inference.slide`: the same windows, the same mean of their
logits. But windows are cut on the host, and of the logits only those rows are
kept that further windows add to, as many as a window has. Of the whole image
there are its pixels and its results, one byte a pixel each.
"""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.models import forward
from u2pl_jax.predict import batch_plan, grids, trained
from u2pl_jax.predict import results as results_lib
from u2pl_jax.runtime import sharding

_LOGITS_AT_ONCE = 2**20  # Of finished rows; 4 MiB.
_BATCHES_AHEAD = 1  # Begun while the host adds up the ones before.


class Strip:
  """The sums of logits in those rows that windows still add to.

  There are as many rows as a window has; row r of the image is row r modulo
  that many.
  """

  def __init__(self, grid: grids.Grid, num_classes: int):
    """Makes room; `grid` is that of the image."""
    self._grid = grid
    shape = grid.rows.window, grid.columns.length, num_classes
    self._sums = np.zeros(shape, np.float32)

  def add(self, window: grids.Window, logits: np.ndarray) -> None:
    """Adds weighted logits, float32 [*window, K]."""
    rows, columns = self._grid.rows, self._grid.columns
    sums = self._sums[:, ::-1] if window.mirrored else self._sums
    own, within = columns.inside(columns.starts[window.column])
    sums, logits = sums[:, own], logits[:, within]
    for first, part in _around(rows, rows.starts[window.row]):
      sums[first : first + part.stop - part.start] += logits[part]

  def take(self, first: int, last: int) -> Iterator[np.ndarray]:
    """Empties rows of the image; yields their sums, float32 [n, W, K] each."""
    while first < last:
      place = first % len(self._sums)
      count = min(last - first, len(self._sums) - place)
      taken = self._sums[place : place + count]
      yield taken
      taken[:] = 0
      first += count


def _around(rows: grids.Side, start: int) -> Iterator[tuple[int, slice]]:
  """Where the rows of a window lie in a strip, and which ones of it."""
  own, within = rows.inside(start)
  first, place = within.start, own.start % rows.window
  end = min(within.stop, first + rows.window - place)
  yield place, slice(first, end)
  if end < within.stop:
    yield 0, slice(end, within.stop)


@dataclasses.dataclass(frozen=True)
class Program:
  """Two compiled functions, for images of all sizes.

  Attributes:
    grid_of: the windows of an image of a size.
    batch_size: windows at once.
    see: of uint8 windows [B, *window, 3] and the weights of their rows and
      columns, float32 [B, height] and [B, width]: weighted logits, float32
      [B, *window, K], still on the devices.
    finish: of sums of logits, float32 [P, K]: uint8 [P] by kind.
    points: P.
    num_classes: K.
    memory: bytes that these need on the host, at most.
  """

  grid_of: Callable[[tuple[int, int]], grids.Grid]
  batch_size: int
  see: Callable[[np.ndarray, np.ndarray, np.ndarray], jax.Array]
  finish: Callable[[np.ndarray], results_lib.Bytes]
  points: int
  num_classes: int
  memory: int


def make_program(
  network: trained.Trained,
  variables: Mapping[str, Any],
  settings: batch_plan.Settings,
  mesh: jax.sharding.Mesh,
) -> Program:
  """Compiles for windows of the protocol's size.

  Args:
    network: the network.
    variables: its own, on all devices of the mesh.
    settings: how to predict.
    mesh: the devices, over which each batch of windows is split.
  """
  batch_size = batch_plan.count_windows(settings, mesh.size)
  window = settings.protocol.window
  split = sharding.split_batch(mesh)
  see = functools.partial(_see, network.model, settings.protocol.flip)
  arguments = [
    jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=split)
    for shape, dtype in (
      ((*window, 3), np.uint8),
      (window[:1], np.float32),
      (window[1:], np.float32),
    )
  ]
  compiled = jax.jit(see).lower(variables, *arguments).compile()
  finish = jax.jit(
    results_lib.make_compute(settings.maps, network.num_classes, settings.rule)
  )

  def see_batch(*batch):
    named = dict(enumerate(batch))
    return compiled(variables, *sharding.to_global(named, mesh).values())

  points = max(_LOGITS_AT_ONCE // network.num_classes, 1)
  return Program(
    grid_of=functools.partial(grids.lay_grid, seen=settings.protocol),
    batch_size=batch_size,
    see=see_batch,
    finish=lambda sums: jax.device_get(finish(sums)),
    points=points,
    num_classes=network.num_classes,
    memory=_host_memory(compiled, batch_size, window, network.num_classes),
  )


def _see(model, flip, variables, pixels, rows, columns):
  """See `Program.see`; padding is 0, the mean color."""
  net = forward.make_net(model, variables)
  inside = (rows > 0)[:, :, None] & (columns > 0)[:, None]
  images = jnp.where(inside[..., None], model.normalize(pixels), 0)
  weights = rows[:, :, None] * columns[:, None] / (1 + flip)
  return net(images) * weights[..., None]


def _host_memory(
  compiled: Any, batch_size: int, window: tuple[int, int], num_classes: int
) -> int:
  """Bytes on the host of the batches that are begun, and of finished rows."""
  logits = 4 * num_classes * batch_size * math.prod(window)
  needed = (1 + _BATCHES_AHEAD) * logits + 4 * 4 * _LOGITS_AT_ONCE
  analysis = compiled.memory_analysis()
  if jax.default_backend() == "cpu" and analysis is not None:
    needed += analysis.temp_size_in_bytes
  return needed


def count_bytes(program: Program, grid: grids.Grid) -> int:
  """Memory on the host for the logits of an image, beside its pixels."""
  rows = grid.rows.window * grid.columns.length
  return 4 * program.num_classes * rows + program.memory


def predict(
  program: Program,
  pixels: np.ndarray,
  kinds: Sequence[str],
  advance: Callable[[int], None],
) -> results_lib.Bytes:
  """Predicts an image.

  Args:
    program: the network.
    pixels: uint8 [H, W, 3].
    kinds: those of the results, "masks" and maps.
    advance: told how many windows more are done.
  """
  size = pixels.shape[:2]
  grid = program.grid_of(size)
  results = {kind: np.empty(size, np.uint8) for kind in kinds}
  strip, done = Strip(grid, program.num_classes), 0
  ends = [*grid.rows.starts[1:], size[0]]  # Of the rows that are complete.
  for batch, logits in _run_ahead(program, pixels, grid):
    for window, own in zip(batch, np.asarray(logits)):
      # Before the first window of further rows.
      if window.row and done < ends[window.row - 1]:
        done = _finish(program, strip, done, ends[window.row - 1], results)
      strip.add(window, own)
    advance(len(batch))
  _finish(program, strip, done, size[0], results)
  return results


def _run_ahead(
  program: Program, pixels: np.ndarray, grid: grids.Grid
) -> Iterator[tuple[list[grids.Window], jax.Array]]:
  """Batches of windows and their logits; the next one is begun meanwhile."""
  begun = collections.deque()
  windows = grids.order(grid)
  while batch := list(itertools.islice(windows, program.batch_size)):
    begun.append((batch, program.see(*_cut(pixels, grid, batch, program))))
    if len(begun) > _BATCHES_AHEAD:
      yield begun.popleft()
  yield from begun


def _cut(
  pixels: np.ndarray,
  grid: grids.Grid,
  batch: Sequence[grids.Window],
  program: Program,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What `Program.see` takes; there may be more places than windows."""
  sides, places = (grid.rows, grid.columns), program.batch_size
  shape = places, *(side.window for side in sides)
  views = np.zeros((*shape, 3), np.uint8)
  weights = [np.zeros((places, side.window), np.float32) for side in sides]
  for place, window in enumerate(batch):
    image = pixels[:, ::-1] if window.mirrored else pixels
    chosen = window.row, window.column
    (rows, view_rows), (columns, view_columns) = (
      side.inside(side.starts[index])
      for side, index in zip(sides, chosen, strict=True)
    )
    views[place, view_rows, view_columns] = image[rows, columns]
    for weight, side, index in zip(weights, sides, chosen, strict=True):
      weight[place] = side.weights[index]
  return views, *weights


def _finish(
  program: Program,
  strip: Strip,
  first: int,
  last: int,
  results: results_lib.Bytes,
) -> int:
  """Rows of the results, of the sums of their logits; returns `last`."""
  for sums in strip.take(first, last):
    count, width, num_classes = sums.shape
    flat, start = sums.reshape(-1, num_classes), first * width
    for point in range(0, len(flat), program.points):
      part = flat[point : point + program.points]
      padded = part
      if len(part) < program.points:
        padded = np.zeros((program.points, num_classes), np.float32)
        padded[: len(part)] = part
      for kind, values in program.finish(padded).items():
        own = slice(start + point, start + point + len(part))
        results[kind].reshape(-1)[own] = values[: len(part)]
    first += count
  return last
