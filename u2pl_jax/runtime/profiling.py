"""A profiler's trace of some steps of a run."""

from collections.abc import Callable
from typing import Any

import jax
from etils import epath


class StepTrace:
  """Traces the updates START+1 to STOP; to be closed at the end of the run."""

  def __init__(
    self,
    folder: epath.Path,
    steps: tuple[int, int] | None,
    *,
    run: range,
    show: Callable[[str], None],
  ):
    """Chooses the steps; of those that the run does not make, none is traced.

    Args:
      folder: where the trace goes; TensorBoard and Perfetto can open it.
      steps: (START, STOP), updates made before the first and after the last
        traced one; None for none.
      run: the updates that this run will make.
      show: receives a line on where the trace is, or that there is none.
    """
    self._folder, self._show = folder, show
    start, stop = steps or (0, 0)
    self._steps = range(max(start + 1, run.start), min(stop + 1, run.stop))
    self._running = False
    if steps and not self._steps:
      show(
        f"warning: nothing is profiled, steps {start + 1} to {stop} are not"
        f" among {run.start} to {run.stop - 1} of this run"
      )

  def before(self, step: int) -> None:
    """Starts, if the `step`-th update is the first to be traced."""
    if self._steps and step == self._steps[0]:
      jax.profiler.start_trace(str(self._folder))
      self._running = True

  def after(self, step: int, outputs: Any) -> None:
    """Waits for the last traced update and writes the trace."""
    if self._steps and step == self._steps[-1]:
      jax.block_until_ready(outputs)
      self.close()

  def close(self) -> None:
    """Writes what has been traced, if that has not been done."""
    if self._running:
      self._running = False
      jax.profiler.stop_trace()
      self._show(f"profile written to {self._folder}")
