"""How the time of a training step grows with the sizes of a run.

  python scripts/step_exponents.py measure --out=FILE
  python scripts/step_exponents.py draw --records=FILE --out=docs/exponents.html

`measure` times the step of `benchmark step` (ResNet-50, 129 px, 2 + 2 images,
21 classes, banks full), one size changed at a time, each in a process of its
own. A run that was stopped goes on: what stands in FILE is not measured again.

`draw` makes a page with a chart for each size: seconds and peak memory, and the
exponent p of the line through the points, time ~ size^p.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import plotly.io
from plotly import graph_objects, subplots

from u2pl_jax.runtime import progress
from u2pl_jax.tools import benchmark_programs

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
    plotly.io.write_html(
      draw(read(args.records)), args.out, include_plotlyjs=True
    )
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


def read(path: pathlib.Path) -> list[dict]:
  """The lines of a file that `measure` wrote."""
  return [json.loads(line) for line in path.read_text().splitlines()]


def measure(out: pathlib.Path, rounds: int) -> None:
  """Appends a line of JSON for each point that the file does not hold yet."""
  known = read(out) if out.exists() else []
  done = {(record["size"], record["value"]) for record in known}
  points = [(size, v) for size, values in SIZES.items() for v in values]
  points = [point for point in points if point not in done]
  shown = progress.Progress("measured", len(points), unit="points")
  for size, value in points:
    found = _measure_point(size, value, rounds)
    with out.open("a") as file:
      file.write(json.dumps({"size": size, "value": value} | found) + "\n")
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


def draw(records: Sequence[dict]) -> graph_objects.Figure:
  """A chart for each size that was changed.

  Args:
    records: lines of `measure`.
  """
  figure = subplots.make_subplots(2, 2, vertical_spacing=0.16)
  for index, size in enumerate(SIZES):
    place = {"row": index // 2 + 1, "col": index % 2 + 1}
    points = sorted(
      (r["value"], r["seconds"], r["peak_mib"] / 1024)
      for r in records
      if r["size"] == size
    )
    values, seconds, memory = zip(*points)
    for label, found, color in (
      ("seconds", seconds, "#1f5fbf"),
      ("GiB", memory, "#c05a00"),
    ):
      exponent = fit_exponent(values, found)
      line = graph_objects.Scatter(
        x=values,
        y=found,
        mode="lines+markers+text",
        text=[""] * (len(values) - 1) + [f"{label}, p = {exponent:.2f}"],
        textposition="top left",
        line_color=color,
        showlegend=False,
      )
      figure.add_trace(line, **place)
    figure.update_xaxes(
      type="log", title=TITLES[size], tickvals=values, **place
    )
    figure.update_yaxes(type="log", **place)
  return figure.update_layout(
    template="plotly_white", width=1000, height=760, margin=dict(t=30)
  )


if __name__ == "__main__":
  sys.exit(main())
