"""Measures speed, prints a table, and appends one JSON line to a file.

  python -m u2pl_jax.tools.benchmark pipeline --dataset=camvid --data_dir=DIR \\
    --out=benchmarks/results.jsonl
  python -m u2pl_jax.tools.benchmark predict --workdir=DIR --images=FOLDER

`pipeline` makes batches of random crops and masks on one CPU, in turn with a
pipeline of PyTorch (benchmarks/peers/torch_pipeline.py), and measures the time
to the first batch of a resumed run and the memory after each epoch.

`predict` predicts photographs, in turn with the network alone on batches of
pixels of one size. With --side=10000 instead of --images it predicts one
generated picture of 10,000 x 10,000 pixels, in windows.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from collections.abc import Mapping, Sequence

from u2pl_jax.runtime import command_line, quiet

_PACKAGES = (
  "jax",
  "numpy",
  "opencv-python-headless",
  "pillow",
  "tensorflow",
  "tensorflow-cpu",
  "torch",
)
# Flags that say something about this machine alone.
_PLACES = ("data_dir", "workdir", "weights", "images")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the benchmark that the command line names; returns 0.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  quiet.silence_tensorflow()
  arguments = vars(_make_parser().parse_args(argv))
  run, out = arguments.pop("run"), arguments.pop("out")
  name = arguments.pop("benchmark")
  with command_line.one_line_errors():
    results = run(**arguments)
    if out is not None:
      settings = {k: v for k, v in arguments.items() if k not in _PLACES}
      append_record(describe_run(name) | {"settings": settings} | results, out)
  print(format_table(results))
  return 0


def append_record(record: Mapping[str, object], path: str | pathlib.Path):
  """Appends `record` to a file of JSON lines; folders are made as needed."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("a", encoding="utf-8") as file:
    file.write(json.dumps(record) + "\n")


def format_table(results: Mapping[str, object]) -> str:
  """Returns nested results as text, one value a line, under dotted names."""
  rows = list(_flatten(results))
  width = max(len(name) for name, _ in rows)
  return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _flatten(value: object, name: str = ""):
  if not isinstance(value, Mapping):
    yield name, _format_value(value)
    return
  for key, inner in value.items():
    yield from _flatten(inner, f"{name}.{key}" if name else key)


def _format_value(value: object) -> str:
  if isinstance(value, float):
    return f"{value:.4g}"
  if isinstance(value, (list, tuple)):
    return " ".join(map(_format_value, value))
  return str(value)


def describe_run(name: str) -> dict[str, object]:
  """Returns what was run where: what no benchmark needs to know itself."""
  return {
    "benchmark": name,
    "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    "cpu": _cpu_model(),
    "cpu_count": os.cpu_count(),
    "load_average": list(os.getloadavg()),
    "versions": {"python": platform.python_version()} | _package_versions(),
  }


def _cpu_model() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:  # Linux only.
    return platform.processor() or platform.machine()
  names = [
    line.split(":")[1] for line in lines if line.startswith("model name")
  ]
  return names[0].strip() if names else platform.machine()


def _package_versions() -> dict[str, str]:
  versions = {}
  for package in _PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return versions


def _make_parser() -> argparse.ArgumentParser:
  # Here, since they import TensorFlow.
  from u2pl_jax.tools import benchmark_pipeline, benchmark_predict

  parser = command_line.make_parser("u2pl_jax.tools.benchmark", __doc__)
  commands = parser.add_subparsers(dest="benchmark", required=True)
  pipeline = commands.add_parser("pipeline", help="batches of crops and masks")
  benchmark_pipeline.add_arguments(pipeline)
  predict = commands.add_parser("predict", help="whole photographs")
  benchmark_predict.add_arguments(predict)
  for command, run in (
    (pipeline, benchmark_pipeline.run),
    (predict, benchmark_predict.run),
  ):
    command.add_argument(
      "--out", help="file of JSON lines that the record is appended to"
    )
    command.set_defaults(run=run)
  return parser


if __name__ == "__main__":
  sys.exit(main())
