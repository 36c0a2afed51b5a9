"""Images and masks as they come from a source, and the checks they must pass.

Pixels count as they are stored: an orientation tag (EXIF) is ignored, here as
in training.
"""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

import u2pl_jax

_IMAGE_FORMATS = ("JPEG", "PNG")
_IMAGE_MODES = ("RGB", "L")
_MASK_MODES = ("L", "P")


@dataclasses.dataclass(frozen=True)
class File:
  """A file of the source: what to call it in messages, how to get its bytes."""

  name: str
  read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class RawExample:
  """An image and its mask, if it has one, neither read nor checked."""

  id: str
  image: File
  mask: File | None


@dataclasses.dataclass(frozen=True)
class CheckedExample:
  """An example that passed every check.

  Attributes:
    id: the image's id.
    image: the file's bytes, JPEG or PNG.
    label: bytes of a single-channel 8-bit PNG of class ids; all 255 where the
      image has no mask.
    has_label: whether it has one.
    pixel_counts: [256] int64, pixels of each label; all 0 without a mask.
  """

  id: str
  image: bytes
  label: bytes
  has_label: bool
  pixel_counts: np.ndarray


class ProblemError(ValueError):
  """Something is wrong with a source file; the message names it."""


def check_example(raw: RawExample, num_classes: int) -> CheckedExample:
  """Reads and decodes an example.

  Raises:
    ProblemError: a file is missing or broken, is of a kind that training does
      not read, has the wrong size, or holds an impossible label.
  """
  image_bytes = _read(raw.image)
  image = _decode(raw.image, image_bytes, _IMAGE_FORMATS, _IMAGE_MODES)
  width, height = image.size
  if raw.mask is None:
    unlabeled = np.full((height, width), u2pl_jax.IGNORE_LABEL, np.uint8)
    counts = np.zeros(256, np.int64)
    return CheckedExample(
      raw.id, image_bytes, encode_png(unlabeled), False, counts
    )
  mask_bytes = _read(raw.mask)
  mask = _decode(raw.mask, mask_bytes, ("PNG",), _MASK_MODES)
  if mask.size != image.size:
    raise ProblemError(
      f"{raw.mask.name}: {mask.width}x{mask.height} pixels, but its image "
      f"{raw.image.name} has {width}x{height}"
    )
  labels = np.asarray(mask)
  counts = np.bincount(labels.ravel(), minlength=256)
  _check_labels(raw.mask, counts, num_classes)
  # TensorFlow would turn a palette's colours, not its indices, into labels.
  label_bytes = encode_png(labels) if mask.mode == "P" else mask_bytes
  return CheckedExample(raw.id, image_bytes, label_bytes, True, counts)


def encode_png(pixels: np.ndarray) -> bytes:
  """Encodes uint8 [H, W] or [H, W, 3] as PNG."""
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
  return buffer.getvalue()


def _read(file: File) -> bytes:
  try:
    content = file.read()
  except OSError as error:
    reason = error.strerror or str(error)
    raise ProblemError(f"{file.name}: cannot be read ({reason})") from error
  if not content:
    raise ProblemError(f"{file.name}: the file is empty")
  return content


def _decode(
  file: File,
  content: bytes,
  formats: tuple[str, ...],
  modes: tuple[str, ...],
) -> Image.Image:
  """Decodes all of an image; Pillow, unlike TensorFlow, says what is wrong."""
  try:
    image = Image.open(io.BytesIO(content))
    image.load()
  except Exception as error:  # Pillow raises some ten kinds on broken files.
    reason = str(error).replace("\n", " ")
    if isinstance(error, Image.UnidentifiedImageError):
      reason = "not an image"
    raise ProblemError(f"{file.name}: cannot be decoded ({reason})") from error
  if image.format not in formats:
    raise ProblemError(
      f"{file.name}: is {image.format}, must be {' or '.join(formats)}"
    )
  if image.mode not in modes:
    raise ProblemError(
      f"{file.name}: pixels of mode {image.mode}, must be {' or '.join(modes)}"
    )
  return image


def _check_labels(mask: File, counts: np.ndarray, num_classes: int):
  present = np.flatnonzero(counts)
  unknown = present[
    (present >= num_classes) & (present != u2pl_jax.IGNORE_LABEL)
  ]
  if unknown.size:
    values = ", ".join(f"{v} ({counts[v]} pixels)" for v in unknown[:5])
    more = f" and {unknown.size - 5} more" if unknown.size > 5 else ""
    raise ProblemError(
      f"{mask.name}: label value {values}{more}; must be below "
      f"{num_classes}, the number of classes, or 255"
    )
