"""Several programs measured in turn, each in a process of its own.

So no side pays for the other's imports, and each has a peak of memory. A round
is a block of calls of every side, one after the other, and a block begins when
the one before has left the processors idle; a machine that changes its speed
changes it for all.
"""

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_WORKER = "u2pl_jax.tools.benchmark_worker"
# A block lasts at least so long, since clocks and schedulers are coarse.
_BLOCK_SECONDS = 1.0

# Sides share an accelerator, of which JAX would else take most at once.
_MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

Result = dict[str, Any]


class Side(NamedTuple):
  """What a process is to measure.

  Attributes:
    module: its full name; see `benchmark_worker`.
    settings: for its `make`, as JSON.
  """

  module: str
  settings: Mapping[str, Any]


class _Worker:
  """A running side, ready for blocks."""

  def __init__(self, side: Side):
    self._side = side
    self._process = subprocess.Popen(
      [sys.executable, "-m", _WORKER, side.module, json.dumps(side.settings)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=_MEMORY | os.environ,
    )

  def begin(self) -> None:
    """Waits until the side is made and its first calls are over."""
    ready = self._read()
    self.images = ready["images"]
    first, *_, last = ready["seconds"]
    self.compile_seconds = max(0.0, first - last)
    self._calls = max(1, math.ceil(_BLOCK_SECONDS / max(last, 1e-6)))

  def measure(self) -> float:
    """Seconds of a call, the mean of a block.

    A call before is not timed: while the others ran, caches were lost, and the
    host of a virtual machine may have taken what memory the last block freed.
    """
    self._ask(1)
    return self._ask(self._calls)["seconds"] / self._calls

  def finish(self) -> Result:
    """Memory, and what the side says of itself."""
    return self._ask(0)

  def close(self) -> None:
    self._process.stdin.close()
    self._process.stdout.close()
    self._process.wait()

  def stop(self) -> None:
    """As `close`, at once."""
    if self._process.poll() is None:
      self._process.kill()
    self.close()

  def _ask(self, calls: int) -> Result:
    with contextlib.suppress(BrokenPipeError):  # It died; so does reading.
      print(json.dumps({"calls": calls}), file=self._process.stdin, flush=True)
    return self._read()

  def _read(self) -> Result:
    line = self._process.stdout.readline()
    if not line:
      code = self._process.wait()
      why = "killed, maybe for memory" if code == -9 else f"exit code {code}"
      raise ValueError(
        f"the process of {self._side.module} ended ({why}); what it printed"
        " stands above"
      )
    answer = json.loads(line)
    if "error" in answer:
      raise ValueError(answer["error"])
    return answer


def measure(
  sides: Mapping[str, Side], rounds: int, *, alone: bool = False
) -> dict[str, Result]:
  """Measures all sides in turn.

  Args:
    sides: by their names, in the order of their turns.
    rounds: blocks of each side.
    alone: start each block in a fresh process, for programs too large to be
      in memory beside each other.

  Returns:
    By the sides' names: `seconds` of a call and `images_per_second`, each with
    median, min, max and the value of each round in `rounds`; `compile_seconds`,
    by which the first call was longer; `peak_mib` and `resident_mib` of the
    process; and all that the side says of itself.

  Raises:
    ValueError: a side failed; one line.
  """
  seconds = {name: [] for name in sides}
  finished, first = {}, {}
  with contextlib.ExitStack() as stack:
    workers = {}
    if not alone:
      for name, side in sides.items():
        workers[name] = stack.enter_context(_start(side))
    for _ in range(rounds):
      for name, side in sides.items():
        with _turn(side, workers.get(name), alone) as worker:
          seconds[name].append(worker.measure())
          first.setdefault(name, worker)
          if alone:
            finished[name] = _larger(finished.get(name), worker.finish())
    finished |= {name: worker.finish() for name, worker in workers.items()}
  return {
    name: {
      "seconds": summarize(seconds[name]),
      "images_per_second": summarize(
        [first[name].images / each for each in seconds[name]]
      ),
      "compile_seconds": first[name].compile_seconds,
      **finished[name],
    }
    for name in sides
  }


@contextlib.contextmanager
def _start(side: Side) -> Iterator[_Worker]:
  worker = _Worker(side)
  try:
    worker.begin()
    yield worker
  except BaseException:
    worker.stop()
    raise
  worker.close()


def _turn(side: Side, worker: _Worker | None, alone: bool):
  return _start(side) if alone else contextlib.nullcontext(worker)


def _larger(before: Result | None, now: Result) -> Result:
  """What was said last, with the larger peak."""
  if before is None:
    return now
  peaks = (before["peak_mib"], now["peak_mib"])
  return now | {"peak_mib": max(peaks)}


def summarize(values: list[float]) -> dict[str, Any]:
  """Returns median, min and max of some measurements, and all of them."""
  return {
    "median": statistics.median(values),
    "min": min(values),
    "max": max(values),
    "rounds": list(values),
  }
