"""Finds and reads image files of any sort: upright, 8-bit RGB."""

import collections
import contextlib
import dataclasses
import glob
import os
import pathlib
import re
import threading
from collections.abc import Collection, Iterable, Iterator

import numpy as np
from PIL import ExifTags, Image

FORMATS = (
  "JPEG",
  "PNG",
  "GIF",
  "BMP",
  "TIFF",
  "WEBP",
  "AVIF",
  "JPEG2000",
  "PPM",
)
# Files taken of a folder. HEIC is not read, but should not be missed either.
ENDINGS = (
  ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp",
  ".tif", ".tiff", ".webp", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm",
  ".pnm", ".heic", ".heif"
)  # fmt: skip

# What brings an image upright, by its EXIF orientation.
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)


class UnreadableError(ValueError):
  """A file cannot be read as an image; the message, one line, says why."""


@dataclasses.dataclass(frozen=True)
class Photograph:
  """An image file.

  Attributes:
    path: where it is.
    name: what its results are named after: its path within the folder that was
      searched, without the ending, unless another file differs in that alone.
  """

  path: pathlib.Path
  name: str


def find(where: str, without: Iterable[pathlib.Path] = ()) -> list[Photograph]:
  """Image files in a folder or of a pattern, sorted by path.

  Args:
    where: a folder, of which all files that end like images are taken, in
      subfolders too, but no hidden ones; or a file; or a pattern with *, ? and
      **, of which all files are taken.
    without: folders that are left out.

  Raises:
    FileNotFoundError: there is none; one line.
    ValueError: the pattern leads out of the folder it begins with; one line.
  """
  where = os.path.expanduser(where)
  path = pathlib.Path(where)
  if path.is_dir():
    root, files = path, _files_like_images(path)
  elif path.exists():
    root, files = path.parent, [path]
  elif _is_pattern(path):
    root = next(folder for folder in path.parents if not _is_pattern(folder))
    files = map(pathlib.Path, glob.glob(where, recursive=True))
  else:
    raise FileNotFoundError(f"{where}: no such file or folder")
  left_out = {_absolute(folder) for folder in without}
  found = {
    _relative(file, root): file
    for file in files
    if not file.is_dir() and left_out.isdisjoint(_absolute(file).parents)
  }
  if not found:
    what = "file that ends like an image (.jpg, .png, ...)"
    raise FileNotFoundError(
      f"{where}: there is no {what if path.is_dir() else 'such file'}"
    )
  names = _choose_names(found)
  return [Photograph(found[key], names[key]) for key in sorted(found)]


def _files_like_images(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  for parent, subfolders, names in os.walk(folder):
    subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    for path in (pathlib.Path(parent, name) for name in names):
      if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
        yield path


def _is_pattern(path: pathlib.Path) -> bool:
  return re.search(r"[*?[]", str(path)) is not None


def _absolute(path: pathlib.Path) -> pathlib.Path:
  """Without "..", and without following links."""
  return pathlib.Path(os.path.abspath(path))


def _relative(file: pathlib.Path, root: pathlib.Path) -> str:
  relative = os.path.relpath(file, root)
  if relative.startswith(os.pardir):
    raise ValueError(f"{file} is not in {root}; use a pattern without ..")
  return relative


def _choose_names(files: Collection[str]) -> dict[str, str]:
  """A name for each file, no two alike: without its ending where that does."""
  stems = {file: os.path.splitext(file)[0] for file in files}
  count = collections.Counter(stems.values())
  return {
    file: file if count[stem] > 1 or stem in stems else stem
    for file, stem in stems.items()
  }


def read_size(path: pathlib.Path) -> tuple[int, int]:
  """(height, width) in pixels of the upright image; reads the header alone.

  Raises:
    UnreadableError: there is no image in the file.
  """
  with _open(path) as image:
    width, height = image.size
    if _orientation(image) in _SWAPS_SIDES:
      return width, height
    return height, width


def read(path: pathlib.Path) -> np.ndarray:
  """The image, upright; of an animation the first frame.

  Transparent pixels become white, gray ones RGB, and of 16 bits the upper 8 are
  taken.

  Returns:
    uint8 [H, W, 3] RGB, read-only.

  Raises:
    UnreadableError: the file is broken, truncated, or holds numbers that are
      no colors.
  """
  with _open(path) as image:
    turn = _TURNS.get(_orientation(image))
    image = _to_rgb(image)
    return np.asarray(image if turn is None else image.transpose(turn))


class _Unlimited:
  """Has Pillow read images of any size, where callers decide by `read_size`.

  Its limit is one for the whole process; so it is put back by the last of the
  threads that are reading.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._readers = 0

  def __enter__(self):
    with self._lock:
      if not self._readers:
        self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
      self._readers += 1

  def __exit__(self, *error):
    with self._lock:
      self._readers -= 1
      if not self._readers:
        Image.MAX_IMAGE_PIXELS = self._limit


_unlimited = _Unlimited()


@contextlib.contextmanager
def _open(path: pathlib.Path) -> Iterator[Image.Image]:
  """Opens the file; whatever its decoder raises becomes one kind of error."""
  try:
    with _unlimited, Image.open(path, formats=FORMATS) as image:
      yield image
  except Image.UnidentifiedImageError as error:
    raise UnreadableError(
      f"{path}: not an image, or of a format that is not read; convert it to"
      " JPEG or PNG"
    ) from error
  except Exception as error:  # Pillow's decoders raise many kinds.
    reason = getattr(error, "strerror", None) or str(error) or repr(error)
    raise UnreadableError(f"{path}: {' '.join(reason.split())}") from error


def _orientation(image: Image.Image) -> int:
  """EXIF orientation that is still to be applied; 1 where EXIF is damaged."""
  if image.format == "TIFF":  # Pillow applies it.
    return 1
  try:
    # That of Image: the one of PNG files decodes all pixels first.
    exif = Image.Image.getexif(image)
  except Exception:  # As above.
    return 1
  return exif.get(ExifTags.Base.Orientation, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode == "F":
    raise ValueError("pixels are floating-point numbers; save it with 8 bits")
  if image.mode.startswith("I"):
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
      raise ValueError("pixels have more than 16 bits; save it with 8 bits")
    return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
  if not image.has_transparency_data:
    return image.convert("RGB")
  above = image.convert("RGBA")
  white = Image.new("RGBA", above.size, "white")
  return Image.alpha_composite(white, above).convert("RGB")
