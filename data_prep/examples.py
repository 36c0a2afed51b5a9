"""Images and masks as they come from a source, and the checks they must pass.

Images are read as everywhere (`u2pl_jax.data.image_files`), upright and as
8-bit RGB. A JPEG or PNG that is so already is stored as it is, and of any other
file the pixels, as a PNG. A mask follows its image: one that was drawn over the
stored pixels is turned as they are.
"""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

import u2pl_jax
from data_prep import orientation
from u2pl_jax.data import image_files

_MASK_MODES = ("L", "P")
_PNG_DEPTH_OFFSET = 24  # Of the byte that tells the bits of a channel.
# Of photographs, higher levels take five times as long and save a seventh.
_IMAGE_COMPRESSION = 2
_MASK_COMPRESSION = 6

# Conversions, as they are counted.
TURNED = "turned upright"
NO_LABELS = "mask: without a labeled pixel"


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
    image: bytes of a JPEG or PNG, 8-bit RGB or gray, upright.
    label: bytes of a single-channel 8-bit PNG of class ids; all 255 where the
      image has no mask.
    has_label: whether it has one, with at least one labeled pixel.
    pixel_counts: [256] int64, pixels of each label; all 0 without a mask.
    conversions: what was done to the image and to the mask, in a few words
      each.
  """

  id: str
  image: bytes
  label: bytes
  has_label: bool
  pixel_counts: np.ndarray
  conversions: tuple[str, ...]


class ProblemError(ValueError):
  """Something is wrong with a source file; the message names it."""


def check_example(
  raw: RawExample,
  num_classes: int,
  *,
  value_range: tuple[int, int] | None = None,
  decide_orientation: Callable[[], str] = lambda: "",
) -> CheckedExample:
  """Reads and decodes an example.

  Args:
    raw: the example.
    num_classes: the number of classes.
    value_range: (low, high), what becomes black and white in images of more
      than 8 bits a channel.
    decide_orientation: says on which picture a mask was drawn where sizes
      cannot tell; see `orientation.make_decider`.

  Raises:
    ProblemError: a file is missing or broken, is of a kind that is not read,
      has the wrong size, or holds an impossible label.
  """
  content = read(raw.image)
  try:
    image = image_files.decode(content, value_range, raw.image.name)
  except image_files.UnreadableError as error:
    raise ProblemError(str(error)) from error
  conversions = [f"image: {what}" for what in image.conversions]
  if image.conversions:
    content = encode_png(image.pixels, _IMAGE_COMPRESSION)
  counts = np.zeros(256, np.int64)
  if raw.mask is None:
    unlabeled = np.full(image.pixels.shape[:2], u2pl_jax.IGNORE_LABEL, np.uint8)
    label_bytes, has_label = encode_png(unlabeled), False
  else:
    labels = _bring_upright(raw, image, decide_orientation)
    counts = np.bincount(labels.ids.ravel(), minlength=256)
    _check_labels(raw.mask, counts, num_classes)
    label_bytes = labels.png or encode_png(labels.ids)
    has_label = counts[u2pl_jax.IGNORE_LABEL] < labels.ids.size
    conversions += [f"mask: {what}" for what in labels.conversions]
  if raw.mask is not None and not has_label:
    counts = np.zeros_like(counts)
    conversions.append(NO_LABELS)
  return CheckedExample(
    id=raw.id,
    image=content,
    label=label_bytes,
    has_label=bool(has_label),
    pixel_counts=counts,
    conversions=tuple(conversions),
  )


def id_mask(file: File) -> Mask:
  """A mask whose gray values or palette indices are class ids."""

  def read_ids():
    content = read(file)
    mask = decode(file, content, ("PNG",), _MASK_MODES)
    tag = image_files.read_header(content, file.name).orientation
    ids = image_files.turn(np.asarray(mask), tag)
    # TensorFlow would turn a palette's colors, not its indices, into labels.
    is_kept = mask.mode == "L" and tag == 1
    return Labels(
      ids,
      png=content if is_kept else None,
      is_upright=tag != 1,
      conversions=() if tag == 1 else (TURNED,),
    )

  return Mask(file.name, read_ids)


def encode_png(
  pixels: np.ndarray, compress_level: int = _MASK_COMPRESSION
) -> bytes:
  """Encodes uint8 [H, W] or [H, W, 3] as PNG."""
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG", compress_level=compress_level)
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
    with image_files.unlimited:
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


def _bring_upright(
  raw: RawExample,
  image: image_files.Decoded,
  decide_orientation: Callable[[], str],
) -> Labels:
  """Reads the mask, and turns it as its image was if it was drawn before."""
  labels = raw.mask.read()
  fitting = orientation.find_fitting(image.header, labels.ids.shape)
  if labels.is_upright or image.orientation == 1:
    fitting = [p for p in fitting if p == orientation.UPRIGHT]
  if not fitting:
    raise ProblemError(_describe_sizes(raw, labels, image.header))
  if orientation.UPRIGHT in fitting and len(fitting) == 1:
    return labels
  turned = image_files.turn(labels.ids, image.orientation)
  if len(fitting) > 1 and not np.array_equal(turned, labels.ids):
    drawn_on = decide_orientation()
    if not drawn_on:
      raise ProblemError(
        f"{raw.mask.name}: the orientation tag (EXIF) of its image "
        f"{raw.image.name} keeps the size, and nothing tells whether the mask "
        "was drawn on the picture as it is stored or as it is shown; give "
        "--mask_orientation=stored or --mask_orientation=upright"
      )
    if drawn_on == orientation.UPRIGHT:
      return labels
  return Labels(turned, conversions=(*labels.conversions, TURNED))


def _describe_sizes(
  raw: RawExample, labels: Labels, header: image_files.Header
) -> str:
  (mask_height, mask_width), (height, width) = labels.ids.shape, header.size
  tag = "turned by its orientation tag (EXIF)"
  return (
    f"{raw.mask.name}: {mask_width}x{mask_height} pixels"
    f"{f', {tag},' if labels.is_upright else ','} but its image "
    f"{raw.image.name}{f', {tag},' if header.orientation > 1 else ''} has "
    f"{width}x{height}"
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
