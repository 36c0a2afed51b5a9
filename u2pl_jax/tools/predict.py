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

If two files differ in their endings only, the results keep these endings:
PATH.jpg.png, ... Files that cannot be read are listed at the end, and the exit
code is then 1.
"""

import argparse
import math
import pathlib
import sys
import warnings
from collections.abc import Iterable, Sequence

from u2pl_jax.data import image_files
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.predict import batch_plan, photographs, stream
from u2pl_jax.runtime import command_line, progress
from u2pl_jax.tools import network_arguments


def main(argv: Sequence[str] | None = None) -> int:
  """Predicts what the command line names; 0, or 1 if a file was not read.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  with command_line.one_line_errors(), warnings.catch_warnings():
    # Of damaged metadata, which say nothing about the pixels.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    failures = _predict(arguments)
  for failure in failures:
    print(failure, file=sys.stderr)
  return 1 if failures else 0


def _predict(
  arguments: argparse.Namespace,
) -> list[image_files.UnreadableError]:
  """Predicts all images; returns why some were not read."""
  maps, scales = _parse_maps(arguments.maps), _parse_scales(arguments.scales)
  _check_ranges(arguments)
  out = pathlib.Path(arguments.out)
  folders = [out / kind for kind in batch_plan.KINDS + batch_plan.MAPS]
  images = photographs.find(arguments.images, without=folders)
  if not arguments.overwrite:
    _check_empty(folders)
  network = network_arguments.load(arguments)
  print(f"{network.origin}: {network.num_classes} classes", flush=True)
  settings = batch_plan.Settings(
    protocol=protocol_lib.Protocol(
      arguments.protocol, network.window, scales=scales, flip=arguments.flip
    ),
    maps=maps,
    batch_size=arguments.batch_size,
    max_shapes=arguments.max_shapes,
    max_megapixels=arguments.max_megapixels,
  )
  shown = progress.Progress("predicting", len(images))
  failures = []
  for failure in stream.run(network, images, out, settings):
    shown.advance()
    if failure is not None:
      failures.append(failure)
  print(f"{len(images) - len(failures)} of {len(images)} images: {out}")
  return failures


def _check_ranges(arguments: argparse.Namespace) -> None:
  """Raises ValueError that names a flag out of range."""
  for flag in ("batch_size", "max_shapes"):
    value = getattr(arguments, flag)
    if value is not None and value < 1:
      raise ValueError(f"--{flag}={value}: must be >= 1")
  if not arguments.max_megapixels > 0:
    raise ValueError(
      f"--max_megapixels={arguments.max_megapixels}: must be > 0"
    )


def _check_empty(folders: Iterable[pathlib.Path]) -> None:
  """Raises FileExistsError if there are files in one of the folders."""
  for folder in folders:
    if folder.exists() and any(folder.iterdir()):
      raise FileExistsError(
        f"{folder}: there are files already; pass --overwrite to replace those"
        " of the same names, or another --out"
      )


def _parse_maps(text: str) -> tuple[str, ...]:
  """Reads "probability,entropy"; raises ValueError if it is something else."""
  maps = tuple(filter(None, text.split(",")))
  for name in maps:
    if name not in batch_plan.MAPS:
      raise ValueError(
        f"--maps={text}: {name!r} is none of {', '.join(batch_plan.MAPS)}"
      )
  return maps


def _parse_scales(text: str) -> tuple[float, ...]:
  """Reads "0.75,1"; raises ValueError if it is something else."""
  try:
    scales = tuple(map(float, text.split(",")))
  except ValueError:
    scales = ()
  if not scales or not all(0 < scale < math.inf for scale in scales):
    raise ValueError(
      f"--scales={text}: must be positive numbers; e.g. --scales=0.75,1,1.25"
    )
  return scales


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
    help="replace earlier results of the same names",
  )
  _add_inference_arguments(parser)
  return parser


def _add_inference_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags on how images are seen, and how many at once."""
  parser.add_argument(
    "--protocol",
    choices=("whole", "slide"),
    default="whole",
    help="whole (default) shows the network the whole image at once, slide"
    " windows of the size that training evaluated at",
  )
  parser.add_argument(
    "--scales",
    default="1",
    metavar="NUMBERS",
    help="the network sees the image at each of these scales, and its logits"
    " are averaged; default: 1; e.g. 0.5 for large photographs",
  )
  parser.add_argument(
    "--flip",
    action="store_true",
    help="the network also sees the mirrored image, at each scale",
  )
  parser.add_argument(
    "--batch_size",
    type=int,
    metavar="IMAGES",
    help="images at once; default: as many as make half a megapixel for each"
    " device",
  )
  parser.add_argument(
    "--max_shapes",
    type=int,
    metavar="NUMBER",
    help="shapes that images are padded to, for each of which a program is"
    " compiled; default: as many as are quickest. With as many as there are"
    " sizes no image is padded",
  )
  parser.add_argument(
    "--max_megapixels",
    type=float,
    default=30.0,
    metavar="NUMBER",
    help="images larger than this are not read; default: 30",
  )


if __name__ == "__main__":
  sys.exit(main())
