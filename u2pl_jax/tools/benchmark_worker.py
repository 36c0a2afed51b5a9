"""One side of a comparison, in a process of its own; see `benchmark_turns`.

  python -m u2pl_jax.tools.benchmark_worker MODULE SETTINGS

MODULE has `make(settings)`, which returns what is measured, an object with

  images            images that a call processes
  run(calls)        makes so many calls and waits until all is done
  describe()        hardware, shapes and the like, as JSON

SETTINGS is JSON. This module imports nothing of weight that could count
as a part of either side. Commands come as lines of JSON, and so do the answers:

  (begin)             {"seconds": of three first calls each, "images"}
  {"calls": N}        {"seconds": of N calls together}
  {"calls": 0}        {"peak_mib", "resident_mib", and all of describe()}

An error of one line is answered as {"error": line}; with any other one, the
process ends and leaves a traceback. It also ends with its input.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Sequence

from u2pl_jax.runtime import memory

# The first one compiles, the second may still make memory or choose kernels.
_FIRST_CALLS = 3


def main(argv: Sequence[str]) -> int:
  """Serves until the input ends; returns 0."""
  # Whatever libraries print must not be taken for an answer.
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)

  def answer(**values):
    print(json.dumps(values), file=answers, flush=True)

  module, settings = argv
  try:
    work = importlib.import_module(module).make(json.loads(settings))
    seconds = [_time(work, 1) for _ in range(_FIRST_CALLS)]
    answer(seconds=seconds, images=work.images)
    for line in sys.stdin:
      calls = json.loads(line)["calls"]
      if calls:
        seconds = _time(work, calls)
        wait_until_idle()
        answer(seconds=seconds)
      else:
        held = {"peak_mib": peak_mib(), "resident_mib": resident_mib()}
        answer(**held | work.describe())
  except (ValueError, OSError, ImportError) as error:
    if "\n" in str(error).strip():
      raise
    answer(error=str(error))
  return 0


def _time(work, calls: int) -> float:
  start = time.perf_counter()
  work.run(calls)
  return time.perf_counter() - start


def wait_until_idle() -> None:
  """Waits until no thread of this process works, for 10 s at the most."""
  for _ in range(100):
    before = time.process_time()
    time.sleep(0.1)
    if time.process_time() - before < 0.005:
      return


def peak_mib() -> float:
  """The most memory that this process held at once, on the host."""
  peak = memory.peak_bytes()
  if peak is None:  # Not Linux; there it would begin with the parent's peak.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
  return peak / 2**20


def resident_mib() -> float | None:
  """What this process holds; None where that is not known."""
  held = memory.resident_bytes()
  return None if held is None else held / 2**20


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
