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
import functools
import math
import pathlib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from u2pl_jax.data import image_files
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.predict import (
  batch_plan,
  large,
  photographs,
  record,
  results,
  stream,
  trained,
)
from u2pl_jax.runtime import command_line, interrupt, progress
from u2pl_jax.tools import network_arguments

_SHOWN = 30  # Characters of a name in a line of progress.


def main(argv: Sequence[str] | None = None) -> int:
  """Predicts what the command line names; 0, or 1 if a file was not read.

  Ctrl-C ends the process at once, with one line and code 130.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  tally = _Tally(is_anew=arguments.overwrite)
  with (
    command_line.one_line_errors(),
    interrupt.answered_by(tally.end),
    warnings.catch_warnings(),
  ):
    # Of damaged metadata, which say nothing about the pixels.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    failures = _predict(arguments, tally)
    for failure in failures:
      print(failure, file=sys.stderr)
  return 1 if failures else 0


class _Tally:
  """How many images are done, for whoever watches or interrupts."""

  def __init__(self, is_anew: bool):
    """Nothing is known yet; `is_anew` says whether --overwrite was passed."""
    self._is_anew = is_anew
    self._count_done = None

  def begin(self, total: int, done: int, count_done: Callable[[], int]) -> None:
    """Of `total` images some were done already.

    Args:
      total: of all images.
      done: how many were.
      count_done: tells how many are at any moment.
    """
    self._total, self._count_done = total, count_done
    if done:
      was = "was" if done == 1 else "were"
      print(f"{done} of {total} images {was} done already", flush=True)
    self._shown = progress.Progress("predicting", total - done)

  def advance(self) -> None:
    """Counts one image more, done or failed."""
    self._shown.advance()

  def watch(self, job: large.Job) -> Callable[[int], None]:
    """Tells of a large image; shows how far it is."""
    self._shown.end_line()
    memory = ""
    if job.memory is not None:
      memory = f", about {job.memory / 1e9:.1f} GB of memory"
    height, width = job.size
    print(
      f"{job.name}: {width}x{height} pixels in {job.num_windows}"
      f" windows{memory}",
      flush=True,
    )
    name = job.name if len(job.name) <= _SHOWN else f"...{job.name[-_SHOWN:]}"
    shown = None

    def advance(count):
      nonlocal shown
      if shown is None:  # Reading the image does not count.
        shown = progress.Progress(name, job.num_windows, unit="windows")
      if count:
        shown.advance(count)

    return advance

  def end(self) -> NoReturn:
    """Ends the process at once, from any thread."""
    results.end_writing()
    if self._count_done is None:
      interrupt.end()
    flags = " without --overwrite" if self._is_anew else ""
    interrupt.end(
      f"{interrupt.INTERRUPTED}; {self._count_done()} of {self._total} images"
      f" are done; the same command{flags} goes on"
    )


def _predict(
  arguments: argparse.Namespace, tally: _Tally
) -> list[image_files.UnreadableError]:
  """Predicts all images; returns why some were not read."""
  maps, scales = _parse_maps(arguments.maps), _parse_scales(arguments.scales)
  value_range = image_files.parse_value_range(arguments.value_range)
  _check_ranges(arguments)
  out = pathlib.Path(arguments.out)
  folders = [out / kind for kind in results.KINDS + results.MAPS]
  images = photographs.find(arguments.images, without=folders)
  network = network_arguments.load(arguments)
  settings = batch_plan.Settings(
    protocol=protocol_lib.Protocol(
      arguments.protocol, network.window, scales=scales, flip=arguments.flip
    ),
    maps=maps,
    batch_size=arguments.batch_size,
    max_shapes=arguments.max_shapes,
    max_megapixels=arguments.max_megapixels,
    value_range=value_range,
  )
  done = _find_done(out, network, images, settings, arguments.overwrite)
  print(f"{network.origin}: {network.num_classes} classes", flush=True)
  find_done = functools.partial(record.find_done, out, images, maps)
  tally.begin(len(images), len(done), lambda: len(find_done()))
  failures = []
  for failure in stream.run(
    network, images, out, settings, done=done, watch=tally.watch
  ):
    tally.advance()
    if failure is not None:
      failures.append(failure)
  print(f"{len(images) - len(failures)} of {len(images)} images: {out}")
  return failures


def _find_done(
  out: pathlib.Path,
  network: trained.Trained,
  images: Sequence[photographs.Photograph],
  settings: batch_plan.Settings,
  overwrite: bool,
) -> set[photographs.Photograph]:
  """Images that an earlier command has done; begins a record if there is none.

  Raises:
    OSError, ValueError: there are results of something else; one line.
  """
  about = record.describe(network, images, settings)
  if not overwrite and record.check(out, about):
    return record.find_done(out, images, settings.maps)
  record.begin(out, about)
  return set()


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


def _parse_maps(text: str) -> tuple[str, ...]:
  """Reads "probability,entropy"; raises ValueError if it is something else."""
  maps = tuple(filter(None, text.split(",")))
  for name in maps:
    if name not in results.MAPS:
      raise ValueError(
        f"--maps={text}: {name!r} is none of {', '.join(results.MAPS)}"
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
    help="predict all images anew, and replace earlier results of the same"
    " names, whatever they are of",
  )
  parser.add_argument(
    "--value_range",
    default="",
    metavar="LOW,HIGH",
    help="the values that become black and white in images of more than 8 bits,"
    " which are refused without; e.g. 0,4095 for 12 bits; others are not"
    " affected",
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
    help="images at once, or windows of one above --max_megapixels; default: as"
    " many as make half a megapixel for each device",
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
    help="images larger than this are seen in windows, with little memory, if"
    " --protocol=slide, else they are not read; default: 30",
  )


if __name__ == "__main__":
  sys.exit(main())
