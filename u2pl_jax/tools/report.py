"""Shows what a run learned in one HTML file that needs no network.

  python -m u2pl_jax.tools.report --workdir=runs/a
  python -m u2pl_jax.tools.report --workdir=runs/a --compare=runs/b \
    --out=a_and_b.html

The file holds the curves of the run, its scores by class, and validation
images, worst first: label, prediction, errors, entropy and pseudo-label.
Without the run's dataset it holds curves and scores only.
"""

import argparse
import os
import sys
from collections.abc import Sequence

# Before TensorFlow is imported; as in training, see main.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from etils import epath

from u2pl_jax.data import datasets
from u2pl_jax.evaluation import protocol
from u2pl_jax.report import examples, page, runs, sheet, thresholds
from u2pl_jax.runtime import command_line, workdir
from u2pl_jax.tools import network_arguments


def main(argv: Sequence[str] | None = None) -> int:
  """Writes the report that the command line asks for; returns 0.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  with command_line.one_line_errors():
    _write_report(arguments)
  return 0


def _write_report(arguments: argparse.Namespace) -> None:
  out = epath.Path(arguments.out or f"{arguments.workdir}/report.html")
  picture = arguments.picture and epath.Path(arguments.picture)
  if arguments.max_images < 0:
    raise ValueError(f"--max_images={arguments.max_images}: must be >= 0")
  if picture and not arguments.max_images:
    raise ValueError("--picture shows images, but --max_images=0")
  compared = _load_runs(arguments)
  for path in filter(None, (out, picture)):
    if not path.parent.is_dir():
      raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
  found, why_none = None, ""
  try:
    found = _evaluate(arguments, compared)
  except FileNotFoundError as error:  # Of the dataset.
    why_none = f"{error}, or name its folder by --data_dir"
    print(f"no images: {why_none}")
  workdir.write_bytes(out, page.render(compared, found, why_none).encode())
  print(f"wrote {out}")
  if picture:
    if found is None:
      raise FileNotFoundError(f"--picture={picture}: {why_none}")
    workdir.write_bytes(picture, _draw_picture(compared[0], found))
    print(f"wrote {picture}")


def _load_runs(arguments: argparse.Namespace) -> tuple[runs.Run, ...]:
  folders = filter(None, (arguments.workdir, arguments.compare))
  loaded = tuple(
    runs.load_run(folder, arguments.which or "best", arguments.state)
    for folder in folders
  )
  return loaded if len(loaded) == 1 else runs.tell_apart(*loaded)


def _evaluate(
  arguments: argparse.Namespace, compared: Sequence[runs.Run]
) -> examples.Examples:
  """What the networks of the runs make of the validation images.

  Raises:
    FileNotFoundError: the dataset is not there.
    ValueError: it is another one.
  """
  config, network = compared[0].config, compared[0].network
  data = config["data"]
  dataset = datasets.open_dataset(
    data["name"], arguments.data_dir or data["data_dir"]
  )
  return examples.evaluate(
    [run.network for run in compared],
    dataset,
    protocol.Protocol(arguments.protocol, network.window),
    batch_size=config["eval"]["batch_size"],
    max_images=arguments.max_images,
  )


def _draw_picture(run: runs.Run, found: examples.Examples) -> bytes:
  return sheet.draw_sheet(
    sheet.choose_rows(found.worst),
    run.network.class_names,
    run.network.palette,
    thresholds.choose_threshold(run, found.entropies[0]).value,
  )


def _make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m u2pl_jax.tools.report",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--workdir", required=True, metavar="DIR", help="of a run of main.py"
  )
  parser.add_argument(
    "--compare", metavar="DIR", help="of another run on the same data"
  )
  parser.add_argument(
    "--out", metavar="FILE", help="default: report.html in the workdir"
  )
  parser.add_argument(
    "--picture",
    metavar="FILE",
    help="also write a PNG of a few images, from worse to better",
  )
  network_arguments.add_choice(parser)
  parser.add_argument(
    "--protocol",
    choices=protocol.KINDS,
    default="whole",
    help="what is seen of an image; default: whole",
  )
  parser.add_argument(
    "--data_dir",
    metavar="DIR",
    help="where the dataset is; default: where it was in training",
  )
  parser.add_argument(
    "--max_images",
    type=int,
    default=500,
    metavar="N",
    help="show only the N worst; default: 500",
  )
  return parser


if __name__ == "__main__":
  sys.exit(main())
