"""Images and masks as they come from a source, and the checks they must pass.

Pixels count as they are stored: an orientation tag (EXIF) is ignored here and
in training, since masks are drawn over stored pixels. (Prediction has no masks,
and turns photographs upright.) Gray images are read as three equal channels.
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
_PNG_DEPTH_OFFSET = 24  # Of the byte that tells the bits of a channel.
_ORIENTATION_TAG = 0x0112


@dataclasses.dataclass(frozen=True)
class File:
  """A file of the source: what to call it in messages, how to get its bytes."""

  name: str
  read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Labels:
  """The pixels of a mask, as classes.

  Attributes:
    ids: uint8 [H, W], class ids and 255 where ignored.
    png: the file's bytes, if they are a gray 8-bit PNG of just these ids.
    is_upright: whether an orientation tag of the mask's own was applied.
    conversions: what was done to get them, in a few words each, to be counted.
  """

  ids: np.ndarray
  png: bytes | None = None
  is_upright: bool = False
  conversions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Mask:
  """A mask of the source.

  Attributes:
    name: what to call it in messages.
    read: returns its pixels; raises `ProblemError`.
  """

  name: str
  read: Callable[[], Labels]


@dataclasses.dataclass(frozen=True)
class RawExample:
  """An image and its mask, if it has one, neither read nor checked."""

  id: str
  image: File
  mask: Mask | None


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
    is_rotated: whether an orientation tag (EXIF) of the image, which is
      ignored, asks to show it rotated or mirrored.
  """

  id: str
  image: bytes
  label: bytes
  has_label: bool
  pixel_counts: np.ndarray
  is_rotated: bool


class ProblemError(ValueError):
  """Something is wrong with a source file; the message names it."""


def check_example(raw: RawExample, num_classes: int) -> CheckedExample:
  """Reads and decodes an example.

  Raises:
    ProblemError: a file is missing or broken, is of a kind that training does
      not read, has the wrong size, or holds an impossible label.
  """
  image_bytes = read(raw.image)
  image = decode(raw.image, image_bytes, _IMAGE_FORMATS, _IMAGE_MODES)
  is_rotated = _is_rotated(image)
  if raw.mask is None:
    unlabeled = np.full(image.size[::-1], u2pl_jax.IGNORE_LABEL, np.uint8)
    label_bytes, counts = encode_png(unlabeled), np.zeros(256, np.int64)
  else:
    labels = raw.mask.read()
    _check_size(raw, image, labels.ids, is_rotated)
    counts = np.bincount(labels.ids.ravel(), minlength=256)
    _check_labels(raw.mask, counts, num_classes)
    label_bytes = labels.png or encode_png(labels.ids)
  return CheckedExample(
    id=raw.id,
    image=image_bytes,
    label=label_bytes,
    has_label=raw.mask is not None,
    pixel_counts=counts,
    is_rotated=is_rotated,
  )


def id_mask(file: File) -> Mask:
  """A mask whose gray values or palette indices are class ids."""

  def read_ids():
    content = read(file)
    mask = decode(file, content, ("PNG",), _MASK_MODES)
    # TensorFlow would turn a palette's colors, not its indices, into labels.
    png = None if mask.mode == "P" else content
    return Labels(np.asarray(mask), png)

  return Mask(file.name, read_ids)


def encode_png(pixels: np.ndarray) -> bytes:
  """Encodes uint8 [H, W] or [H, W, 3] as PNG."""
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
  return buffer.getvalue()


def read(file: File) -> bytes:
  """Returns the bytes of a file.

  Raises:
    ProblemError: the file cannot be read or is empty.
  """
  try:
    content = file.read()
  except OSError as error:
    reason = error.strerror or str(error)
    raise ProblemError(f"{file.name}: cannot be read ({reason})") from error
  if not content:
    raise ProblemError(f"{file.name}: the file is empty")
  return content


def decode(
  file: File,
  content: bytes,
  formats: tuple[str, ...],
  modes: tuple[str, ...],
) -> Image.Image:
  """Decodes all of an image; Pillow, unlike TensorFlow, says what is wrong.

  Args:
    file: where `content` comes from, for the messages.
    content: the bytes of the file.
    formats: Pillow's names of the formats that are accepted.
    modes: Pillow's names of the kinds of pixels that are accepted.

  Raises:
    ProblemError: the image is damaged or of another format, kind or depth.
  """
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
  # Pillow and TensorFlow would silently drop bits, or stretch gray values.
  depth = content[_PNG_DEPTH_OFFSET] if image.format == "PNG" else 8
  if depth > 8 or (depth < 8 and image.mode == "L"):
    raise ProblemError(f"{file.name}: {depth} bits a channel, must be 8")
  return image


def _is_rotated(image: Image.Image) -> bool:
  try:
    return image.getexif().get(_ORIENTATION_TAG, 1) != 1
  except Exception:  # Broken tags matter as little as whole ones.
    return False


def _check_size(
  raw: RawExample, image: Image.Image, ids: np.ndarray, is_rotated: bool
):
  height, width = ids.shape
  if (width, height) == image.size:
    return
  hint = ""
  if is_rotated and (height, width) == image.size:
    hint = (
      ": the image has an orientation tag (EXIF), which is ignored; rotate its "
      "pixels and drop the tag, or rotate the mask"
    )
  raise ProblemError(
    f"{raw.mask.name}: {width}x{height} pixels, but its image "
    f"{raw.image.name} has {image.width}x{image.height}{hint}"
  )


def _check_labels(mask: Mask, counts: np.ndarray, num_classes: int):
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
