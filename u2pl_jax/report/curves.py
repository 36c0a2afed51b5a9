"""Scalars that a run wrote for TensorBoard."""

import collections
import dataclasses

import numpy as np
from etils import epath
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.util import tensor_util


@dataclasses.dataclass(frozen=True)
class Curve:
  """One scalar over the steps of a run.

  Attributes:
    steps: [N] int64, ascending.
    values: [N] float64; NaN and infinite where the run had them so.
  """

  steps: np.ndarray
  values: np.ndarray


def read_curves(workdir: epath.Path) -> dict[str, Curve]:
  """All scalars in the event files of a run, by tag; {} without such files.

  A step that was run again, after an interruption, counts as it was last. What
  a killed run left of a record is passed over.
  """
  # Not through EventAccumulator: it holds all pictures in memory, and brings
  # each event into its newest form first, which takes a hundred times as long.
  points = collections.defaultdict(dict)
  for path in sorted(workdir.glob("events.out.tfevents.*")):
    loader = event_file_loader.LegacyEventFileLoader(str(path))
    for event in loader.Load():
      for value in event.summary.value:
        is_scalar = not value.tensor.tensor_shape.dim
        if value.HasField("tensor") and is_scalar:
          number = float(tensor_util.make_ndarray(value.tensor))
          points[value.tag][event.step] = number
  return {tag: _make_curve(by_step) for tag, by_step in points.items()}


def read_pictures(workdir: epath.Path, prefix: str) -> list[bytes]:
  """The last pictures that a run wrote for TensorBoard, as PNG files.

  Args:
    workdir: of the run.
    prefix: of their tags, which end with a number.
  """
  found = {}
  for path in sorted(workdir.glob("events.out.tfevents.*")):
    loader = event_file_loader.LegacyEventFileLoader(str(path))
    for event in loader.Load():
      for value in event.summary.value:
        number = value.tag.removeprefix(prefix)
        if number != value.tag and value.HasField("tensor"):
          # Width, height, and the picture.
          *_, picture = value.tensor.string_val
          found[int(number)] = picture
  return [found[number] for number in sorted(found)]


def _make_curve(by_step: dict[int, float]) -> Curve:
  steps = np.array(sorted(by_step), np.int64)
  return Curve(steps, np.array([by_step[step] for step in steps.tolist()]))


def block_means(curve: Curve, max_points: int) -> tuple[Curve, int]:
  """Shortens a curve to the means of blocks of as many points each.

  Args:
    curve: a curve of any length.
    max_points: how many points are left at most; at least 1.

  Returns:
    The curve, each point at the last step of its block, and the length of a
    block; the curve as it is, and 1, if it is short enough. The last block may
    be shorter. A block with a NaN has the mean NaN.
  """
  length = -(-len(curve.steps) // max_points)
  if length <= 1:
    return curve, 1
  starts = np.arange(0, len(curve.steps), length)
  ends = np.minimum(starts + length, len(curve.steps))
  sums = np.add.reduceat(curve.values, starts)
  return Curve(curve.steps[ends - 1], sums / (ends - starts)), length
