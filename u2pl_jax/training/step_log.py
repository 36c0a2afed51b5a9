"""Collects the metrics of steps, without waiting for the devices.

Metrics stay on the devices until `flush`, which writes one point a step to
TensorBoard, counts steps with NaN or Inf and prints a line of progress.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from clu import metric_writers

from u2pl_jax.runtime import progress
from u2pl_jax.training import bad_steps as bad_steps_lib
from u2pl_jax.training import quality

Metrics = Mapping[str, jax.Array | quality.Share]


class StepLog:
  """Metrics of the steps since the last flush."""

  def __init__(
    self,
    writer: metric_writers.MetricWriter,
    *,
    total_steps: int,
    learning_rates: Mapping[str, Callable[[int], float]],
    class_names: Sequence[str],
    bad_steps: bad_steps_lib.BadSteps,
    show: Callable[[str], None],
  ):
    """Starts with nothing collected.

    Args:
      writer: of the metrics.
      total_steps: of the run, for the remaining time.
      learning_rates: schedule of each group of parameters.
      class_names: of the metrics that are [K].
      bad_steps: counts the steps that were not applied.
      show: receives the line of progress, and one on bad steps.
    """
    self._writer = writer
    self._total_steps = total_steps
    self._learning_rates = learning_rates
    self._class_names = class_names
    self._bad_steps = bad_steps
    self._show = show
    self._pending: list[tuple[int, Metrics]] = []
    self._images_per_step = 0
    self._restart_speed()

  def _restart_speed(self) -> None:
    self._since = math.nan
    self._timed_steps = 0
    self._timed_seconds = 0.0

  @property
  def images_per_second(self) -> float:
    """Training speed of this phase, or NaN before its second flush.

    Without compilation, evaluation and saving.
    """
    if not self._timed_steps:
      return math.nan
    return self._images_per_step * self._timed_steps / self._timed_seconds

  def restart_clock(self) -> None:
    """Leaves the time since the last flush out of the training speed."""
    self._since = time.monotonic()

  def add(self, step: int, metrics: Metrics, images_per_step: int) -> None:
    """Keeps the metrics of the `step`-th update; does not wait for them.

    But for the first step of a phase, which has just been compiled: it is
    waited for and shown at once, and the clock starts anew.

    Args:
      step: 1 for the first update.
      metrics: of this update.
      images_per_step: for images/s; when it changes, a phase begins.
    """
    if images_per_step != self._images_per_step:
      self._images_per_step = images_per_step
      self._restart_speed()
      jax.block_until_ready(metrics)
      self._pending.append((step, metrics))
      self.flush()
    else:
      self._pending.append((step, metrics))

  def flush(self) -> None:
    """Waits for the pending steps, writes and shows them.

    Raises:
      FloatingPointError: too many steps in a row had a loss or a gradient that
        is not finite; the message names the last one and the term.
    """
    if not self._pending:
      return
    steps, device_metrics = zip(*self._pending, strict=True)
    self._pending.clear()
    fetched = jax.device_get(device_metrics)
    if not math.isnan(self._since):
      self._timed_seconds += time.monotonic() - self._since
      self._timed_steps += len(steps)
    bad = []
    for step, metrics in zip(steps, fetched, strict=True):
      self._writer.write_scalars(step, self._scalars(step, metrics))
      bad += filter(None, [self._bad_steps.check(step, metrics)])
    self._show(self._progress(steps[-1], fetched[-1]))
    if bad:
      of_several = f"; {len(bad)} of the last {len(steps)} steps were not"
      self._show(bad[-1] + (of_several if len(bad) > 1 else ""))
    self.restart_clock()

  def _scalars(self, step: int, metrics: Metrics) -> dict[str, float]:
    scalars = {}
    for name, value in metrics.items():
      is_share = isinstance(value, quality.Share)
      value = value.divide() if is_share else value
      named = {name: value}
      if np.ndim(value):
        names = (f"{name}/{label}" for label in self._class_names)
        named = dict(zip(names, value, strict=True))
      # A share of no pixels is none: a class that the batch does not show.
      scalars |= {
        name: float(value)
        for name, value in named.items()
        if not (is_share and math.isnan(value))
      }
    for group, schedule in self._learning_rates.items():
      scalars[f"learning_rate/{group}"] = float(schedule(step - 1))
    return scalars

  def _progress(self, step: int, metrics: Metrics) -> str:
    losses = "  ".join(
      f"{name.removeprefix('loss/')} {float(value):.3f}"
      for name, value in metrics.items()
      if name.startswith("loss/")
    )
    line = f"step {step}/{self._total_steps} ({step / self._total_steps:.0%})"
    line += f"  {losses}"
    speed = self.images_per_second
    if math.isnan(speed):
      return line
    images_left = (self._total_steps - step) * self._images_per_step
    left = progress.format_seconds(images_left / speed)
    return f"{line}  {speed:.0f} images/s  ETA {left}"
