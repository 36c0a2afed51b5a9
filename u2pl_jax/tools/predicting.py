"""What the commands that predict photographs have in common."""

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
  reliability,
  results,
  stream,
  trained,
)
from u2pl_jax.runtime import command_line, interrupt, progress

_SHOWN = 30  # Characters of a name in a line of progress.


class Tally:
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


def run_command(
  predict: Callable[
    [argparse.Namespace, Tally], Sequence[image_files.UnreadableError]
  ],
  arguments: argparse.Namespace,
) -> int:
  """Runs a command that predicts; Ctrl-C ends it with a line of its tally.

  Args:
    predict: (arguments, tally) -> why some images were not read, which is
      printed to stderr.
    arguments: the parsed flags, `overwrite` among them.

  Returns:
    The exit code: 0, or 1 if an image was not read.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  tally = Tally(is_anew=arguments.overwrite)
  with (
    command_line.one_line_errors(),
    interrupt.answered_by(tally.end),
    warnings.catch_warnings(),
  ):
    # Of damaged metadata, which say nothing about the pixels.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    failures = predict(arguments, tally)
    for failure in failures:
      print(failure, file=sys.stderr)
  return 1 if failures else 0


def run(
  network: trained.Trained,
  images: Sequence[photographs.Photograph],
  out: pathlib.Path,
  settings: batch_plan.Settings,
  tally: Tally,
  *,
  overwrite: bool,
) -> list[image_files.UnreadableError]:
  """Predicts the images that an earlier command has not done.

  Args:
    network: the trained network.
    images: all images.
    out: the folder of the results.
    settings: how to predict.
    tally: is told what is done.
    overwrite: whether to predict all anew.

  Returns:
    Why images could not be read.

  Raises:
    OSError, ValueError: there are results of something else, or a result cannot
      be written; one line.
  """
  done = _find_done(out, network, images, settings, overwrite)
  print(f"{network.origin}: {network.num_classes} classes", flush=True)
  find_done = functools.partial(record.find_done, out, images, settings.maps)
  tally.begin(len(images), len(done), lambda: len(find_done()))
  failures = []
  for failure in stream.run(
    network, images, out, settings, done=done, watch=tally.watch
  ):
    tally.advance()
    if failure is not None:
      failures.append(failure)
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


def make_settings(
  arguments: argparse.Namespace,
  window: tuple[int, int],
  maps: tuple[str, ...] = (),
  rule: reliability.Rule | None = None,
) -> batch_plan.Settings:
  """How to predict, by the flags of `add_arguments`.

  Args:
    arguments: the parsed flags.
    window: (height, width) of the windows of --protocol=slide.
    maps: see `batch_plan.Settings`.
    rule: see `batch_plan.Settings`.

  Raises:
    ValueError: a flag is out of range; one line that names it.
  """
  _check_ranges(arguments)
  return batch_plan.Settings(
    protocol=protocol_lib.Protocol(
      arguments.protocol,
      window,
      scales=_parse_scales(arguments.scales),
      flip=arguments.flip,
    ),
    maps=maps,
    batch_size=arguments.batch_size,
    max_shapes=arguments.max_shapes,
    max_megapixels=arguments.max_megapixels,
    value_range=image_files.parse_value_range(arguments.value_range),
    rule=rule,
  )


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags on how images are read and seen, and how many at once."""
  parser.add_argument(
    "--value_range",
    default="",
    metavar="LOW,HIGH",
    help="the values that become black and white in images of more than 8 bits,"
    " which are refused without; e.g. 0,4095 for 12 bits; others are not"
    " affected",
  )
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
