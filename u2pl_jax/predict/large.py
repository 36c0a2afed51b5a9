"""Predicts images above the limit, one after the other; see `windows`."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
from PIL import Image

from u2pl_jax.data import image_files, image_headers, shapes
from u2pl_jax.predict import (
  batch_plan,
  photographs,
  results,
  trained,
  windows,
)
from u2pl_jax.runtime import memory

Sized = tuple[photographs.Photograph, shapes.Size]
Failure = image_files.UnreadableError | None  # None: the image is done.

# Most bytes a pixel while an image is decoded, as measured: 4 of Pillow's, 4 of
# a copy in RGB, and twice 3; conversions hold more, most of all those of
# transparency in 16 bits.
_DECODING, _CONVERTING, _DEEP_COMPOSITING = 14, 31, 76
_PLAIN_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "BMP", "PPM")
_PLAIN_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
_DRAWING = 4  # Pillow's overlay.


@dataclasses.dataclass(frozen=True)
class Job:
  """An image that is about to be predicted.

  Attributes:
    name: of its results.
    size: (height, width) in pixels.
    num_windows: how many the network sees.
    memory: bytes that the process holds at most, by an estimate; None where it
      is not known what it holds now.
  """

  name: str
  size: shapes.Size
  num_windows: int
  memory: int | None


# Is told of a job; what it returns is told how many windows more are done, and
# 0 once the image is read.
Watch = Callable[[Job], Callable[[int], None]]


def run(
  network: trained.Trained,
  variables: Mapping[str, Any],
  mesh: jax.sharding.Mesh,
  images: Iterable[Sized],
  out: pathlib.Path,
  settings: batch_plan.Settings,
  watch: Watch,
) -> Iterator[Failure]:
  """Predicts images and writes their results; as `stream.run`.

  Args:
    network: the trained network.
    variables: its own, on all devices of the mesh.
    mesh: the devices, over which each batch of windows is split.
    images: with their sizes.
    out: the folder of the results.
    settings: how to predict.
    watch: see `Watch`.
  """
  program = None
  for image, size in images:
    if program is None:
      program = windows.make_program(network, variables, settings, mesh)
    problem = _predict(program, network, image, size, out, settings, watch)
    yield problem and image_files.UnreadableError(f"{image.path}: {problem}")


def _predict(
  program: windows.Program,
  network: trained.Trained,
  image: photographs.Photograph,
  size: shapes.Size,
  out: pathlib.Path,
  settings: batch_plan.Settings,
  watch: Watch,
) -> str | None:
  """Predicts one image; returns why that is impossible, or None."""
  kinds = ("masks", *settings.maps)
  grid = program.grid_of(size)
  needed = _estimate(image.path, size, len(kinds), program, grid)
  held, available = memory.resident_bytes(), memory.available_bytes()
  if held is not None and available is not None and needed > available:
    return (
      f"{size[1]}x{size[0]} pixels take about {_gigabytes(needed)} of memory,"
      f" more than the {_gigabytes(available)} at hand; cut it into parts"
    )
  total = None if held is None else held + needed
  advance = watch(Job(image.name, size, grid.num_windows, total))
  try:
    pixels = photographs.read(image.path, settings.value_range)
    if pixels.shape[:2] != size:
      return "has changed meanwhile"
    advance(0)
    found = windows.predict(program, pixels, kinds, advance)
    results.write(out, image.name, pixels, found, network.palette)
  except image_files.UnreadableError as error:
    return str(error).removeprefix(f"{image.path}: ")
  except MemoryError:
    return f"takes about {_gigabytes(needed)} of memory; cut it into parts"
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return "the device has too little memory; try --batch_size=1"
  return None


def _estimate(
  path: pathlib.Path,
  size: shapes.Size,
  num_kinds: int,
  program: windows.Program,
  grid: windows.grids.Grid,
) -> int:
  """Bytes needed at the most demanding moment: reading, network or writing."""
  pixels = size[0] * size[1]
  found = num_kinds * pixels
  photograph = 3 * pixels
  decoding = bytes_to_decode(path) * pixels
  predicting = photograph + found + windows.count_bytes(program, grid)
  writing = photograph + found + _DRAWING * pixels
  return max(decoding, predicting, writing)


def bytes_to_decode(path: pathlib.Path) -> int:
  """The most memory that a pixel takes while the file is decoded."""
  try:
    with open(path, "rb") as file, image_files.unlimited:
      facts = image_headers.read(file)
      with Image.open(file, formats=image_files.FORMATS) as image:
        is_clear = image.has_transparency_data
        is_plain = (
          image.format in _PLAIN_FORMATS
          and (image.mode in _PLAIN_MODES or facts.bits > 8)
          and not is_clear
        )
  except Exception:  # Pillow's decoders raise many kinds; it is read later.
    return _DECODING
  if is_plain:
    return _DECODING
  return _DEEP_COMPOSITING if facts.bits > 8 and is_clear else _CONVERTING


def _gigabytes(count: int) -> str:
  return f"{count / 1e9:.1f} GB"
