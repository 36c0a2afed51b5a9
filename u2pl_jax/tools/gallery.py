"""Shows what a run teaches its student from, in one HTML file.

  python -m u2pl_jax.tools.gallery --workdir=runs/a
  python -m u2pl_jax.tools.gallery --workdir=runs/a --step=400 --count=8 \\
    --picture=lessons.png

The file holds a few training images as the student meets them in the step after
a checkpoint: weak and strong views with the boxes that mix them, pseudo-labels,
which of their pixels are taught, which are reliable, and whatever else the
method makes of them. Crops and boxes are those of training; nothing is learned.
"""

import argparse
import sys
from collections.abc import Sequence

from u2pl_jax.runtime import command_line, quiet
from u2pl_jax.tools import network_arguments


def main(argv: Sequence[str] | None = None) -> int:
  """Writes the gallery that the command line asks for; returns 0.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  quiet.silence_tensorflow()
  from u2pl_jax.report import files, lessons, lessons_page

  with command_line.one_line_errors():
    out = arguments.out or f"{arguments.workdir}/gallery.html"
    which = network_arguments.choose_checkpoint(arguments, "last")
    files.check_folders(arguments.out, arguments.picture)
    found = lessons.collect(
      arguments.workdir,
      which,
      count=arguments.count,
      step=arguments.step,
      data_dir=arguments.data_dir,
    )
    lessons_page.write_gallery(found, out, arguments.picture)
  return 0


def _make_parser() -> argparse.ArgumentParser:
  parser = command_line.make_parser("u2pl_jax.tools.gallery", __doc__)
  parser.add_argument(
    "--workdir", required=True, metavar="DIR", help="folder of a run"
  )
  parser.add_argument(
    "--out", metavar="FILE", help="default: gallery.html in the workdir"
  )
  parser.add_argument(
    "--picture", metavar="FILE", help="also write all pictures as one PNG file"
  )
  parser.add_argument(
    "--count",
    type=int,
    default=4,
    metavar="N",
    help="show N labeled and N unlabeled images; default: 4",
  )
  network_arguments.add_checkpoint(parser, "last")
  parser.add_argument(
    "--step",
    type=int,
    metavar="N",
    help="whose images, boxes and percentages are shown; default: the step"
    " after the checkpoint, or the run's last ones",
  )
  network_arguments.add_data_dir(parser)
  return parser


if __name__ == "__main__":
  sys.exit(main())
