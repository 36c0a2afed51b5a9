"""The files of masks: what values or colors are stored in them."""

import dataclasses
import functools
import io

import numpy as np
from PIL import Image

from data_prep import examples
from u2pl_jax.data import image_files, image_headers

ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jpg", ".jpeg")

_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG", "MPO")
_GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
_COLOR_MODES = ("RGB", "RGBA")
# Colors of gray pixels may differ by as much in files that change values.
_LOSSY_TOLERANCE = 8
_MAX_COUNTED = (1 << 16) - 1


@dataclasses.dataclass(frozen=True)
class Stored:
  """The pixels of a mask, upright by an orientation tag of its own.

  Attributes:
    values: integers [H, W], gray values or palette indices; None of colors.
    colors: uint8 [H, W, 3]; None of gray values and palette indices.
    palette: uint8 [256, 3] RGB by index; None without one.
    bits: of a gray value, 8 or more.
    mode: Pillow's name of the kind of pixels.
    is_lossy: whether the format changes values.
    is_turned: whether an orientation tag was applied.
    has_holes: whether pixels are transparent.
    doubt: why gray values may not be those that were drawn, if so.
    png: the bytes of the file, if it is a gray 8-bit PNG of `values`.
  """

  values: np.ndarray | None
  colors: np.ndarray | None
  palette: np.ndarray | None
  bits: int
  mode: str
  is_lossy: bool
  is_turned: bool
  has_holes: bool
  doubt: str
  png: bytes | None

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width in pixels."""
    pixels = self.colors if self.values is None else self.values
    return pixels.shape[:2]

  @functools.cached_property
  def gray(self) -> np.ndarray | None:
    """Integers [H, W]: the gray values of colors, if each is gray, or None."""
    if self.colors is None:
      return self.values
    tolerance = _LOSSY_TOLERANCE if self.is_lossy else 0
    is_gray = all(_are_gray(part, tolerance) for part in strips(self.colors))
    return self.colors[..., 1] if is_gray else None


def read(file: examples.File) -> Stored:
  """Reads the file of a mask.

  Raises:
    examples.ProblemError: it is missing, broken or of another kind.
  """
  content = examples.read(file)
  facts = image_headers.read(io.BytesIO(content))
  with image_files.unlimited:
    image = _decode(file, content, facts)
    orientation = image_files.read_header(content, file.name).orientation
    return _to_stored(image, content, facts, orientation)


def count_values(values: np.ndarray) -> np.ndarray:
  """Returns [>= 256] int64, how often each of integers from 0 is there.

  Args:
    values: none of them negative, and none so large that counts fill memory.
  """
  counts = np.zeros(max(255, int(values.max(initial=0))) + 1, np.int64)
  for part in strips(values):
    counts += np.bincount(part.ravel(), minlength=len(counts))
  return counts


def find_values(values: np.ndarray) -> np.ndarray:
  """Returns the integers that are there, in order."""
  if values.min(initial=0) < 0 or values.max(initial=0) > _MAX_COUNTED:
    return np.unique(values)
  return np.flatnonzero(count_values(values))


def strips(pixels: np.ndarray) -> list[np.ndarray]:
  """Cuts [H, W, ...] into bands of rows whose copies need little memory."""
  rows = max(1, (1 << 22) // max(1, pixels.shape[1]))
  return [pixels[y : y + rows] for y in range(0, pixels.shape[0], rows)]


def _are_gray(colors: np.ndarray, tolerance: int) -> bool:
  red, green, blue = np.moveaxis(colors, -1, 0)
  if not tolerance:
    return np.array_equal(red, green) and np.array_equal(green, blue)
  return (np.ptp(colors, axis=2) <= tolerance).all()


def _decode(
  file: examples.File, content: bytes, facts: image_headers.Facts
) -> Image.Image:
  """Decodes all of an image of a kind that masks may be of."""
  try:
    image = Image.open(io.BytesIO(content))
    if image.format in _FORMATS:
      image.load()
  except Exception as error:  # Pillow raises some ten kinds on broken files.
    reason = " ".join(str(error).split())
    if isinstance(error, Image.UnidentifiedImageError):
      reason = facts.problem or "not an image"
    raise examples.ProblemError(
      f"{file.name}: cannot be decoded ({reason})"
    ) from error
  problem = facts.problem
  if image.format not in _FORMATS:
    problem = f"is {image.format}, must be PNG, TIFF, BMP, GIF or WebP"
  elif image.mode not in (*_GRAY_MODES, *_COLOR_MODES, "P"):
    problem = f"pixels of mode {image.mode}; save it as gray, palette or RGB"
  elif image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
    problem = f"holds {image.n_frames} pictures; save the mask alone"
  elif facts.bits > 8 and image.mode in (*_COLOR_MODES, "LA"):
    # Pillow would drop bits without a word.
    problem = f"{facts.bits} bits a channel, must be 8 in masks of colors"
  elif facts.is_white_zero and image.mode.startswith("I"):
    problem = f"stores white as 0 in {facts.bits} bits; save it with black as 0"
  if problem:
    raise examples.ProblemError(f"{file.name}: {problem}")
  return image


def _to_stored(
  image: Image.Image,
  content: bytes,
  facts: image_headers.Facts,
  orientation: int,
) -> Stored:
  # Pillow turns TIFF by itself.
  todo = 1 if image.format == "TIFF" else orientation
  palette = None
  if image.mode == "P":
    listed = np.frombuffer(bytes(image.getpalette("RGB")), np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    palette.reshape(-1)[: listed.size] = listed
  has_holes = _has_holes(image)
  is_color = image.mode in _COLOR_MODES
  is_plain_png = image.format == "PNG" and image.mode == "L"
  is_scaled = image.mode == "1" or facts.has_small_samples
  mode = image.mode
  if is_color:
    pixels = np.asarray(image.convert("RGB"))
  elif mode == "1":
    pixels = np.where(np.asarray(image), np.uint8(255), np.uint8(0))
  else:
    pixels = np.asarray(image.convert("L") if mode == "LA" else image)
  if mode.startswith("I"):
    pixels = pixels.astype(np.int32)
  pixels = image_files.turn(pixels, todo)
  is_as_drawn = orientation == 1 and not is_scaled
  return Stored(
    values=None if is_color else pixels,
    colors=pixels if is_color else None,
    palette=palette,
    bits=16 if mode.startswith("I") else 8,
    mode=mode,
    is_lossy=_is_lossy(image, content),
    is_turned=orientation != 1,
    has_holes=has_holes,
    doubt=_find_doubt(image, facts),
    png=content if is_plain_png and is_as_drawn else None,
  )


def _has_holes(image: Image.Image) -> bool:
  if image.mode.startswith("I") or not image.has_transparency_data:
    return False
  alpha = image.convert("RGBA").getchannel("A")
  return alpha.getextrema() != (255, 255)


def _find_doubt(image: Image.Image, facts: image_headers.Facts) -> str:
  if image.mode == "1":
    return "has one bit a pixel"
  if image.mode != "P" and facts.has_small_samples:
    return "has fewer than 8 bits a pixel, which decoders stretch to 0 to 255"
  if facts.is_white_zero:
    return "stores white as 0, which decoders turn round"
  return ""


def _is_lossy(image: Image.Image, content: bytes) -> bool:
  if image.format == "WEBP":
    # The chunk of pixels is VP8L in lossless files; others may come before.
    place = min(
      (i for i in (content.find(b"VP8 "), content.find(b"VP8L")) if i > 0),
      default=0,
    )
    return content[place : place + 4] != b"VP8L"
  if image.format == "TIFF":
    return "jpeg" in str(image.info.get("compression", "")).lower()
  return image.format in ("JPEG", "MPO")
