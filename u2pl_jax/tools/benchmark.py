"""Measures speed and memory: a table, and a line of JSON in a file.

  python -m u2pl_jax.tools.benchmark step --peer --rounds=5
  python -m u2pl_jax.tools.benchmark step --config=configs/voc.py:366 \\
    --crop_size=193 --batch_size=1 --peer
  python -m u2pl_jax.tools.benchmark pipeline --dataset=camvid --data_dir=DIR
  python -m u2pl_jax.tools.benchmark predict --workdir=DIR --images=FOLDER
  python -m u2pl_jax.tools.benchmark export --encoder=resnet50 --decoder=deeplab

`step`, `contrast`, `partition`, `augment` and `eval` need no data. Each side
has a process of its own, and all take turns; with --peer one of them is a
program of PyTorch that does the same work as the published code does it
(benchmarks/peers), in each of its settings, of which the fastest counts. With
--against=FILE:ARG it is another config of ours, to compare methods or settings.

`pipeline` makes batches of random crops and masks on one CPU, with --peer in
turn with a pipeline of PyTorch, and measures the time to the first batch of a
resumed run and the memory after each epoch.

`predict` predicts photographs, in turn with the network alone on batches of
pixels of one size. With --side=10000 instead of --images it predicts one
generated picture of 10,000 x 10,000 pixels, in windows.

`export` gives one image to a network with drawn weights, to its exported file
of StableHLO, and to that of ONNX, in turn.

Records go to benchmarks/records.jsonl, or to the file that --out names.
"""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from u2pl_jax.runtime import command_line, quiet
from u2pl_jax.tools import records

# Flags that say something about this machine alone.
_PLACES = ("data_dir", "workdir", "weights", "images")
_RECORDS = "benchmarks/records.jsonl"
_PEERS = ("torch", "none")


class _Benchmark(NamedTuple):
  """A subcommand.

  Attributes:
    module: in this package, with `add_arguments` and `run`; imported only if
      the subcommand is chosen, as not all machines have what each needs.
    help: in a few words.
    has_peer: whether there is something to compare with.
  """

  module: str
  help: str
  has_peer: bool = True


_BENCHMARKS = {
  "step": _Benchmark("benchmark_programs", "a training step"),
  "contrast": _Benchmark("benchmark_programs", "contrastive loss with banks"),
  "partition": _Benchmark(
    "benchmark_programs", "entropy partition and unsupervised loss"
  ),
  "augment": _Benchmark("benchmark_programs", "strong augmentation"),
  "pipeline": _Benchmark("benchmark_pipeline", "batches of crops and masks"),
  "eval": _Benchmark("benchmark_programs", "sliding windows of large images"),
  "predict": _Benchmark(
    "benchmark_predict", "whole photographs", has_peer=False
  ),
  "export": _Benchmark(
    "benchmark_export", "one image by exported programs", has_peer=False
  ),
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the benchmark that the command line names; returns 0.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  quiet.silence_tensorflow()
  argv = sys.argv[1:] if argv is None else argv
  arguments = vars(_make_parser(argv).parse_args(argv))
  run, out = arguments.pop("run"), arguments.pop("out")
  name = arguments.pop("benchmark")
  with command_line.one_line_errors():
    _check_peer(name, arguments)
    results = run(**arguments)
    if out:
      settings = {k: v for k, v in arguments.items() if k not in _PLACES}
      told = {"benchmark": name} | records.describe_machine()
      records.append(told | {"settings": settings} | results, out)
  # Nobody reads a whole config in a table.
  print(format_table({k: v for k, v in results.items() if k != "config"}))
  return 0


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


def _make_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
  """A parser whose chosen subcommand alone is complete."""
  parser = command_line.make_parser("u2pl_jax.tools.benchmark", __doc__)
  commands = parser.add_subparsers(dest="benchmark", required=True)
  for name, benchmark in _BENCHMARKS.items():
    command = commands.add_parser(name, help=benchmark.help)
    if name not in argv[:1]:
      continue
    module = importlib.import_module(f"u2pl_jax.tools.{benchmark.module}")
    if benchmark.module == "benchmark_programs":
      module.add_arguments(command, name)
    else:
      module.add_arguments(command)
    command.add_argument(
      "--peer",
      nargs="?",
      const=_PEERS[0],
      default=_PEERS[-1],
      help="in turn with the same work in PyTorch",
    )
    command.add_argument(
      "--out",
      default=_RECORDS,
      help="file of JSON lines that the record is appended to, default"
      " %(default)s; --out= for none",
    )
    command.set_defaults(run=module.run)
  return parser


def _check_peer(name: str, arguments: dict[str, object]) -> None:
  """Raises ValueError if there is no such peer; `arguments` then lack it."""
  peer = arguments["peer"]
  if peer not in _PEERS:
    raise ValueError(f"--peer={peer}: must be one of {', '.join(_PEERS)}")
  if not _BENCHMARKS[name].has_peer:
    del arguments["peer"]
    if peer != "none":
      raise ValueError(f"--peer: {name} has no peer to be compared with")


if __name__ == "__main__":
  sys.exit(main())
