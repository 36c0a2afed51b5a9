"""Tells what a training step spends its time on, by kind of operation.

  python scripts/profile_step.py
  python scripts/profile_step.py --phase=supervised --set=data.batch_size_l=4
  python scripts/profile_step.py --set=model.encoder=resnet101 --top=20

The step is that of `benchmark step` (ResNet-50, 129 px, 2 + 2 images, banks
full). Times are those of XLA's operations in a trace of a few calls; what the
host does between steps is not among them. With --top the slowest single
operations follow.
"""

import argparse
import collections
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator

if not __package__:  # Run as a file.
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import jax.profiler

from benchmarks import settings as defaults
from benchmarks.ours import step as step_lib
from u2pl_jax.tools import benchmark_programs

_WARM_CALLS, _CALLS = 3, 3


def main() -> int:
  """Prints the table; returns 0."""
  args = _read_arguments()
  settings = benchmark_programs.make_settings(
    "step",
    defaults,
    config=args.config,
    changes=args.changes,
    recipe=None,
    batch_size=None,
    crop_size=None,
    num_classes=None,
    seed=0,
    phase=args.phase,
  )
  program = step_lib.make(settings)
  program.run(_WARM_CALLS)
  seconds = collections.Counter()
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      program.run(_CALLS)
    for name, spent in _read_operations(pathlib.Path(folder)):
      seconds[name] += spent / _CALLS
  kinds = collections.Counter()
  for name, spent in seconds.items():
    kinds[re.sub(r"[.\d]+$", "", name)] += spent
  total = sum(seconds.values())
  print(f"{total:.3f} s a step in operations")
  for kind, spent in kinds.most_common():
    if spent >= total / 1000:
      print(f"{spent:9.4f} s {spent / total:6.1%}  {kind}")
  for name, spent in seconds.most_common(args.top):
    print(f"{spent:9.4f} s  {name}")
  return 0


def _read_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config", help="FILE:ARG instead of the benchmark's")
  parser.add_argument("--phase", default="semi", help="supervised or semi")
  parser.add_argument(
    "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE"
  )
  parser.add_argument("--top", type=int, default=0, help="operations to list")
  return parser.parse_args()


def _read_operations(folder: pathlib.Path) -> Iterator[tuple[str, float]]:
  """Name and seconds of each operation in a trace."""
  (path,) = folder.rglob("*.xplane.pb")
  data = jax.profiler.ProfileData.from_file(str(path))
  for plane in data.planes:
    for line in plane.lines:
      for event in line.events:
        if any(key == "hlo_op" for key, _ in event.stats):
          yield event.name, event.duration_ns / 1e9


if __name__ == "__main__":
  sys.exit(main())
