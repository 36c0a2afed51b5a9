"""Predicts the class of each pixel of photographs.

  python -m u2pl_jax.tools.predict --workdir=DIR --images=FOLDER --out=RESULTS
  python -m u2pl_jax.tools.predict --weights=net.safetensors \\
    --images='FOLDER/**/*.jpg' --out=RESULTS --maps=probability,entropy

For FOLDER/PATH.jpg this command writes, at the size of the upright photograph,

  RESULTS/masks/PATH.png        gray, the class ids
  RESULTS/colors/PATH.png       class ids with the colors of the dataset
  RESULTS/overlays/PATH.jpg     the colors over the photograph
  RESULTS/probability/PATH.png  gray 0 to 255: probability 0 to 1 of the class
  RESULTS/entropy/PATH.png      gray 0 to 255: entropy 0 to log(classes), unsure

An overlay with a side above 65,500 pixels, more than JPEG holds, is a PNG file.
If two files differ in their endings only, the results keep these endings:
PATH.jpg.png, ... Files that cannot be read are listed at the end, and the exit
code is then 1.

RESULTS/predict.json says what the results are of. The same command again goes
on where the one before was stopped; images whose results are there already, and
that have not changed since, are not predicted anew.

Images above --max_megapixels need --protocol=slide: the network sees them in
windows, one batch after the other, and memory is told before each image.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from u2pl_jax.data import image_files
from u2pl_jax.predict import photographs, results
from u2pl_jax.runtime import command_line
from u2pl_jax.tools import network_arguments, predicting


def main(argv: Sequence[str] | None = None) -> int:
  """Predicts what the command line names; 0, or 1 if a file was not read.

  Ctrl-C ends the process at once, with one line and code 130.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  return predicting.run_command(_predict, arguments)


def _predict(
  arguments: argparse.Namespace, tally: predicting.Tally
) -> list[image_files.UnreadableError]:
  """Predicts all images; returns why some were not read."""
  maps = _parse_maps(arguments.maps)
  # Before the network is loaded, which takes time; its window is not known.
  predicting.make_settings(arguments, (1, 1))
  out = pathlib.Path(arguments.out)
  folders = [out / kind for kind in results.KINDS + results.MAPS]
  images = photographs.find(arguments.images, without=folders)
  network = network_arguments.load(arguments)
  failures = predicting.run(
    network,
    images,
    out,
    predicting.make_settings(arguments, network.window, maps),
    tally,
    overwrite=arguments.overwrite,
  )
  print(f"{len(images) - len(failures)} of {len(images)} images: {out}")
  return failures


def _parse_maps(text: str) -> tuple[str, ...]:
  """Reads "probability,entropy"; raises ValueError if it is something else."""
  maps = tuple(filter(None, text.split(",")))
  for name in maps:
    if name not in results.MAPS:
      raise ValueError(
        f"--maps={text}: {name!r} is none of {', '.join(results.MAPS)}"
      )
  return maps


def _make_parser() -> argparse.ArgumentParser:
  parser = command_line.make_parser("u2pl_jax.tools.predict", __doc__)
  network_arguments.add_arguments(parser)
  parser.add_argument(
    "--images",
    required=True,
    metavar="FOLDER|FILE|PATTERN",
    help="a folder with its subfolders, a file, or a pattern in quotes, in"
    " which ** stands for any subfolders",
  )
  parser.add_argument(
    "--out", required=True, metavar="FOLDER", help="where the results go"
  )
  parser.add_argument(
    "--maps",
    default="",
    metavar="NAMES",
    help="maps to write as well: probability, entropy or probability,entropy;"
    " default: none",
  )
  parser.add_argument(
    "--overwrite",
    action="store_true",
    help="predict all images anew, and replace earlier results of the same"
    " names, whatever they are of",
  )
  predicting.add_arguments(parser)
  return parser


if __name__ == "__main__":
  sys.exit(main())
