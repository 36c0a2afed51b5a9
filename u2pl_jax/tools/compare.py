"""Shows the worst, median and best images of several runs side by side.

  python -m u2pl_jax.tools.compare --workdirs=runs/a,runs/b,runs/c \\
    --out=compared.html

The HTML file holds validation images with their labels, what each run predicts,
and the mIoU of each image by itself. The runs are of one dataset, and of
whatever methods.
"""

import argparse
import sys
from collections.abc import Sequence

from u2pl_jax.runtime import command_line, quiet
from u2pl_jax.tools import network_arguments


def main(argv: Sequence[str] | None = None) -> int:
  """Writes the page that the command line asks for; returns 0.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  quiet.silence_tensorflow()
  from u2pl_jax.report import comparison

  with command_line.one_line_errors():
    folders = [word for word in arguments.workdirs.split(",") if word]
    if not folders:
      raise ValueError("--workdirs names no run; give folders, with commas")
    comparison.write_comparison(
      folders,
      checkpoint=network_arguments.choose_checkpoint(arguments),
      state=arguments.state,
      out=arguments.out,
      protocol=arguments.protocol,
      data_dir=arguments.data_dir,
      count=arguments.count,
      order=arguments.by,
    )
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = command_line.make_parser("u2pl_jax.tools.compare", __doc__)
  parser.add_argument(
    "--workdirs", required=True, metavar="DIR,DIR,...", help="folders of runs"
  )
  parser.add_argument(
    "--out", required=True, metavar="FILE", help="the HTML file to write"
  )
  parser.add_argument(
    "--count",
    type=int,
    default=3,
    metavar="N",
    help="show N worst, N median and N best images; default: 3",
  )
  parser.add_argument(
    "--by",
    choices=("mean", "first"),
    default="mean",
    help="order images by the mean of all runs' scores, or by the first run's;"
    " default: mean",
  )
  network_arguments.add_choice(parser)
  network_arguments.add_protocol(parser)
  network_arguments.add_data_dir(parser, "the first run's")
  return parser


if __name__ == "__main__":
  sys.exit(main())
