"""Reads image files of any sort: upright, 8-bit RGB. One rule for all.

Preparation and prediction read images through `decode`, and training reads what
preparation stored, so that a file has the same pixels everywhere:

  - It is turned upright by its orientation tag (EXIF).
  - Transparency is composited over white.
  - Palettes, CMYK, YCbCr and gray, of whatever depth up to 8 bits, become RGB.
  - More than 8 bits a channel need a range of values that is stated; see
    `deep_images`.
  - A band that the file calls neither color nor transparency is refused, as are
    floating-point numbers.
  - Of several pictures in a file, as in an animation, the first is taken.
  - Color profiles are not applied.
"""

import contextlib
import dataclasses
import io
import pathlib
import re
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import cv2
import numpy as np
from PIL import ExifTags, Image

from u2pl_jax.data import deep_images, image_headers

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

_PLAIN_FORMATS = ("JPEG", "MPO", "PNG")
_PLAIN_MODES = ("RGB", "L")
_SWAPS_SIDES = (5, 6, 7, 8)
_MODE_WORDS = {"P": "palette to RGB", "PA": "palette to RGB"}
_ALPHA_MODES = ("LA", "La", "RGBA", "RGBa")
_SILENT = 0
_OPENCV_LOG = getattr(cv2.utils, "logging", cv2)  # The latter before OpenCV 5.
# A filter as `warnings` keeps it; `catch_warnings` is not for threads.
_NO_WORD = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class UnreadableError(ValueError):
  """A file cannot be read as an image; the message, one line, says why."""


@dataclasses.dataclass(frozen=True)
class Header:
  """What is known of an image without decoding it.

  Attributes:
    size: (height, width) in pixels of the upright image.
    stored_size: (height, width) of the pixels as they are stored.
    orientation: EXIF orientation, 1 to 8; 1 where there is none.
  """

  size: tuple[int, int]
  stored_size: tuple[int, int]
  orientation: int


@dataclasses.dataclass(frozen=True)
class Decoded:
  """An image.

  Attributes:
    pixels: uint8 [H, W, 3] RGB, upright; may be read-only.
    orientation: EXIF orientation that was applied, 1 to 8.
    conversions: all that was done, in a few words each. Empty for a plain file:
      a JPEG or PNG, 8-bit RGB or gray, of which TensorFlow decodes the same
      pixels.
  """

  pixels: np.ndarray
  orientation: int
  conversions: tuple[str, ...]

  @property
  def header(self) -> Header:
    size = self.pixels.shape[:2]
    is_swapped = self.orientation in _SWAPS_SIDES
    return Header(size, size[::-1] if is_swapped else size, self.orientation)


def read_header(source: pathlib.Path | bytes, name: str = "") -> Header:
  """Reads the header alone.

  Args:
    source: a file, or the bytes of one.
    name: what to call it in messages; default: its path.

  Raises:
    UnreadableError: there is no image in the file.
  """
  with _open(source, name) as (file, image, facts):
    orientation = _orientation(image, facts)
    stored = facts.stored_size
    if stored is None:
      stored = image.height, image.width
    size = stored[::-1] if orientation in _SWAPS_SIDES else stored
    return Header(size, stored, orientation)


def decode(
  source: pathlib.Path | bytes,
  value_range: tuple[int, int] | None = None,
  name: str = "",
) -> Decoded:
  """Decodes an image; see above for how.

  Args:
    source: a file, or the bytes of one.
    value_range: (low, high), what becomes black and white in images of more
      than 8 bits a channel; others are not affected.
    name: what to call it in messages; default: its path.

  Raises:
    UnreadableError: the file is broken, truncated, or holds pixels of a kind
      that is refused.
  """
  with _open(source, name) as (file, image, facts):
    if facts.problem:
      raise image_headers.RefusedError(facts.problem)
    conversions = _describe_container(image)
    orientation = _orientation(image, facts)
    if facts.bits > 8 or image.mode.startswith("I"):
      pixels, has_alpha = deep_images.decode(file, image, facts, value_range)
      conversions.append(f"{facts.bits} bits scaled")
      if has_alpha:
        conversions.append("transparency over white")
    else:
      pixels = _to_rgb(image, facts, conversions)
    if orientation > 1:
      conversions.append("turned upright")
    is_turned = facts.tiff_orientation in range(2, 9)  # By the decoder.
    pixels = turn(pixels, 1 if is_turned else orientation)
    return Decoded(pixels, orientation, tuple(conversions))


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Brings pixels upright.

  Args:
    pixels: [H, W, ...] as they are stored.
    orientation: EXIF orientation, 1 to 8.

  Returns:
    The same pixels, [H, W, ...] or [W, H, ...].
  """
  if orientation in _SWAPS_SIDES:
    pixels = pixels.swapaxes(0, 1)
  rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
  columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
  return np.ascontiguousarray(pixels[rows, columns])


def parse_value_range(text: str) -> tuple[int, int] | None:
  """Reads a flag's "LOW,HIGH"; None of an empty text.

  Raises:
    ValueError: the text is something else; one line that names the flag.
  """
  if not text:
    return None
  try:
    low, high = map(int, text.split(","))
  except ValueError:
    low = high = 0
  if low >= high:
    raise ValueError(
      f"--value_range={text}: must be two whole numbers, the lower first, as "
      "in --value_range=0,4095"
    )
  return low, high


class _Unlimited:
  """Has Pillow read images of any size, and decoders keep words to themselves.

  Pillow warns of damaged EXIF, for one, which does not matter. All these are
  settings of the whole process; so they are put back by the last of the threads
  that are reading.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._readers = 0

  def __enter__(self):
    with self._lock:
      if not self._readers:
        self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        self._log_level = _OPENCV_LOG.setLogLevel(_SILENT)
        warnings.filters.insert(0, _NO_WORD)
      self._readers += 1

  def __exit__(self, *error):
    with self._lock:
      self._readers -= 1
      if not self._readers:
        Image.MAX_IMAGE_PIXELS = self._limit
        _OPENCV_LOG.setLogLevel(self._log_level)
        with contextlib.suppress(ValueError):  # If others put theirs back.
          warnings.filters.remove(_NO_WORD)


# Where Pillow itself is called: no word about "decompression bombs".
unlimited = _Unlimited()


@contextlib.contextmanager
def _open(
  source: pathlib.Path | bytes, name: str
) -> Iterator[tuple[BinaryIO, Image.Image, image_headers.Facts]]:
  """Opens the file; whatever its decoder raises becomes one kind of error."""
  facts = image_headers.Facts()
  is_path = isinstance(source, pathlib.Path)
  name = name or (str(source) if is_path else "image")
  try:
    with (
      unlimited,
      open(source, "rb") if is_path else io.BytesIO(source) as file,
    ):
      facts = image_headers.read(file)
      with Image.open(file, formats=FORMATS) as image:
        yield file, image, facts
  except Image.UnidentifiedImageError as error:
    reason = facts.problem or (
      "not an image, or of a format that is not read; convert it to JPEG or PNG"
    )
    raise UnreadableError(f"{name}: {reason}") from error
  except Exception as error:  # Pillow's decoders raise many kinds.
    raise UnreadableError(f"{name}: {_to_reason(error)}") from error


def _to_reason(error: Exception) -> str:
  """One line."""
  reason = getattr(error, "strerror", None)
  if reason is None:
    reason = str(error) or repr(error)
    if not isinstance(error, image_headers.RefusedError):
      reason = f"cannot be decoded ({reason})"
  return " ".join(reason.split())


def _orientation(image: Image.Image, facts: image_headers.Facts) -> int:
  """EXIF orientation; 1 where there is none, or EXIF is damaged."""
  try:
    if facts.late_exif:
      exif = Image.Exif()
      exif.load(facts.late_exif)
    else:
      # That of Image: the one of PNG files decodes all pixels first.
      exif = Image.Image.getexif(image)
    orientation = exif.get(ExifTags.Base.Orientation, 1)
  except Exception:  # As above.
    return 1
  is_known = isinstance(orientation, int) and orientation in range(1, 9)
  return orientation if is_known else 1


def _describe_container(image: Image.Image) -> list[str]:
  conversions = []
  if image.format not in _PLAIN_FORMATS:
    conversions.append(f"from {image.format}")
  # Phones store more than one picture in what is a JPEG to all others.
  if image.format != "MPO" and getattr(image, "is_animated", False):
    conversions.append("first of several pictures")
  return conversions


def _to_rgb(
  image: Image.Image, facts: image_headers.Facts, conversions: list[str]
) -> np.ndarray:
  """uint8 [H, W, 3]; appends what was done to `conversions`."""
  if image.mode == "F":
    raise image_headers.RefusedError(
      "pixels are floating-point numbers; save it with 8 or 16 bits"
    )
  if facts.has_small_samples:
    conversions.append("fewer than 8 bits scaled")
  elif image.mode not in (*_PLAIN_MODES, *_ALPHA_MODES):
    conversions.append(_MODE_WORDS.get(image.mode, f"{image.mode} to RGB"))
  image.load()  # Some files tell of transparency only now.
  if image.has_transparency_data:
    if image.mode == "La":
      image = image.convert("LA")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
      conversions.append("opaque alpha left out")
    else:
      conversions.append("transparency over white")
      white = Image.new("RGBA", image.size, "white")
      image = Image.alpha_composite(white, image)
  return np.asarray(image.convert("RGB"))
