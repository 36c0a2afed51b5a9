"""How the time of a training step grows with the sizes of a run.

  python scripts/step_exponents.py measure --out=benchmarks/exponents.jsonl
  python scripts/step_exponents.py draw --records=benchmarks/exponents.jsonl \
    --out=docs/step_exponents.svg

`measure` times the step of `benchmark step` (ResNet-50, 129 px, 2 + 2 images,
21 classes, banks full), one size changed at a time, each in a process of its
own. A run that was stopped goes on: what stands in FILE is not measured again.

`draw` makes a picture with a chart for each size: seconds and peak memory, and
the exponent p of the line through the points, time ~ size^p.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

if not __package__:  # Run as a file.
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
from matplotlib import figure as figure_lib
from matplotlib import ticker

from scripts import svg
from u2pl_jax.runtime import progress
from u2pl_jax.tools import benchmark_programs, records

# What is changed, and the values of it; the second one is the default.
SIZES = {
  "batch": (1, 2, 4, 8),
  "crop": (97, 129, 193, 257),
  "classes": (11, 21, 42, 84),
  "capacity": (15_000, 30_000, 60_000, 120_000),
}
TITLES = {
  "batch": "labeled images, and as many unlabeled ones",
  "crop": "side of the crop, pixels",
  "classes": "classes K",
  "capacity": "keys in each bank",
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command; returns the exit code."""
  args = _read_arguments(argv)
  if args.command == "measure":
    measure(args.out, args.rounds)
  else:
    args.out.write_bytes(svg.encode(draw(records.read(args.records))))
  return 0


def _read_arguments(argv):
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  commands = parser.add_subparsers(dest="command", required=True)
  measuring = commands.add_parser("measure")
  measuring.add_argument("--out", type=pathlib.Path, required=True)
  measuring.add_argument("--rounds", type=int, default=3)
  drawing = commands.add_parser("draw")
  drawing.add_argument("--records", type=pathlib.Path, required=True)
  drawing.add_argument("--out", type=pathlib.Path, required=True)
  return parser.parse_args(argv)


def measure(out: pathlib.Path, rounds: int) -> None:
  """Appends a line of JSON for each point that the file does not hold yet."""
  done = {(found["size"], found["value"]) for found in records.read(out)}
  points = [(size, v) for size, values in SIZES.items() for v in values]
  points = [point for point in points if point not in done]
  shown = progress.Progress("measured", len(points), unit="points")
  for size, value in points:
    found = _measure_point(size, value, rounds)
    records.append({"size": size, "value": value} | found, out)
    shown.advance()


def _measure_point(size: str, value: int, rounds: int) -> dict[str, float]:
  changes = []
  if size == "capacity":
    names = ("bank_capacity", "bank_capacity_class0")
    changes = [f"contrast.{name}={value}" for name in names]
  flags = {"batch": "batch_size", "crop": "crop_size", "classes": "num_classes"}
  given = {flag: value for name, flag in flags.items() if name == size}
  empty = dict.fromkeys(flags.values())
  found = benchmark_programs.run(
    name="step",
    rounds=rounds,
    alone=False,
    peer="none",
    config=None,
    changes=changes,
    recipe=None,
    seed=0,
    **(empty | given),
  )["ours"]
  return {
    "seconds": found["seconds"]["median"],
    "min": found["seconds"]["min"],
    "max": found["seconds"]["max"],
    "peak_mib": found["peak_mib"],
  }


def fit_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
  """p of the line log(seconds) = p log(size) + c, by least squares."""
  return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def draw(points: Sequence[dict]) -> figure_lib.Figure:
  """A chart for each size that was changed.

  Args:
    points: lines of `measure`.
  """
  figure = figure_lib.Figure(figsize=(10, 7), layout="constrained")
  for axes, (size, title) in zip(figure.subplots(2, 2).flat, TITLES.items()):
    ours = sorted(
      (point["value"], point["seconds"], point["peak_mib"] / 1024)
      for point in points
      if point["size"] == size
    )
    values, seconds, memory = zip(*ours)
    for name, found in (("seconds", seconds), ("GiB", memory)):
      # Not "-0.00".
      exponent = round(fit_exponent(values, found), 2) + 0.0
      label = f"{name}, p = {exponent:.2f}"
      axes.loglog(values, found, marker="o", label=label)
    axes.set(xlabel=title, xticks=values)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    for axis in (axes.xaxis, axes.yaxis):
      axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
      axis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
  return figure


if __name__ == "__main__":
  sys.exit(main())
