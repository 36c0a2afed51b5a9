"""Shows what a run learned, in one HTML file that needs no internet access.

  python -m u2pl_jax.tools.report --workdir=runs/a
  python -m u2pl_jax.tools.report --workdir=runs/a --compare=runs/b \\
    --out=a_and_b.html

The file holds the curves of the run, its scores by class, and validation
images, worst first: label, prediction, errors, entropy and pseudo-label.
Without the run's dataset it holds curves and scores only.
"""

import argparse
import sys
from collections.abc import Sequence

from u2pl_jax.runtime import command_line, quiet
from u2pl_jax.tools import network_arguments


def main(argv: Sequence[str] | None = None) -> int:
  """Writes the report that the command line asks for; returns 0.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  quiet.silence_tensorflow()
  from u2pl_jax.report import write

  with command_line.one_line_errors():
    write.write_report(
      [arguments.workdir, *filter(None, [arguments.compare])],
      checkpoint=network_arguments.choose_checkpoint(arguments),
      state=arguments.state,
      out=arguments.out or f"{arguments.workdir}/report.html",
      picture=arguments.picture,
      protocol=arguments.protocol,
      data_dir=arguments.data_dir,
      max_images=arguments.max_images,
    )
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = command_line.make_parser("u2pl_jax.tools.report", __doc__)
  parser.add_argument(
    "--workdir", required=True, metavar="DIR", help="folder of a run"
  )
  parser.add_argument(
    "--compare", metavar="DIR", help="folder of another run on the same data"
  )
  parser.add_argument(
    "--out", metavar="FILE", help="default: report.html in the workdir"
  )
  parser.add_argument(
    "--picture",
    metavar="FILE",
    help="also write a PNG file of a few images, from worse to better",
  )
  network_arguments.add_choice(parser)
  network_arguments.add_protocol(parser)
  network_arguments.add_data_dir(parser)
  parser.add_argument(
    "--max_images",
    type=int,
    default=500,
    metavar="N",
    help="show only the N worst images; default: 500",
  )
  return parser


if __name__ == "__main__":
  sys.exit(main())
