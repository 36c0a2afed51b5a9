"""Pictures of what a model does, for TensorBoard and as files."""

import io
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.runtime import workdir

_IGNORE_COLOR = (255, 255, 255)
_RELIABLE_COLOR = (40, 160, 70)
_UNRELIABLE_COLOR = (200, 60, 40)
# Of marks, by their tone; see `methods.pictures`.
TONE_COLORS = {
  "good": _RELIABLE_COLOR,
  "bad": _UNRELIABLE_COLOR,
  "neutral": (150, 150, 150),
  "none": _IGNORE_COLOR,
}
_GAP = 4  # Pixels between the pictures of a row.
_PIXELS_AT_ONCE = 2**22  # Of an overlay; bounds the memory.


def colorize(
  labels: np.ndarray, palette: Sequence[Sequence[int]]
) -> np.ndarray:
  """Labels [..., H, W] to RGB uint8 [..., H, W, 3]; 255 becomes white."""
  table = np.full((256, 3), _IGNORE_COLOR, np.uint8)
  table[: len(palette)] = palette
  return table[np.asarray(labels, np.uint8)]


def draw_overlay(
  image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]]
) -> Image.Image:
  """`overlay` as a picture, drawn in strips of few rows.

  Args:
    image: uint8 [H, W, 3].
    labels: [H, W] in [0, K) or 255.
    palette: [K, 3] RGB.
  """
  height, width = labels.shape
  picture = Image.new("RGB", (width, height))
  reach = _reach(labels.shape)
  rows = max(_PIXELS_AT_ONCE // width, 1)
  for first in range(0, height, rows):
    above = max(first - reach, 0)
    own = slice(above, first + rows + reach)  # Outlines reach that far.
    strip = overlay(image[own], labels[own], palette, reach)
    part = strip[first - above :][:rows]
    picture.paste(Image.fromarray(part), (0, first))
  return picture


def overlay(
  image: np.ndarray,
  labels: np.ndarray,
  palette: Sequence[Sequence[int]],
  reach: int | None = None,
) -> np.ndarray:
  """The classes' colors over a photograph, half and half.

  Classes are outlined in white. One that is black, such as the background of
  PASCAL VOC, leaves the photograph as it is, and 255 makes it paler.

  Args:
    image: uint8 [H, W, 3].
    labels: [H, W] in [0, K) or 255.
    palette: [K, 3] RGB.
    reach: half the width of the outlines, in pixels; None for one that suits
      the image.

  Returns:
    uint8 [H, W, 3].
  """
  colors = colorize(labels, palette)
  mixed = (image >> 1) + (colors >> 1)  # Halves first: 8 bits hold the sum.
  mixed[_outline(np.asarray(labels), reach or _reach(labels.shape))] = 255
  return np.where(colors.any(axis=-1, keepdims=True), mixed, image)


def _reach(size: Sequence[int]) -> int:
  """Pixels on each side of an outline; more in large images."""
  return 1 + max(size) // 1000


def _outline(labels: np.ndarray, reach: int) -> np.ndarray:
  """[H, W] bool, true next to another class, `reach` pixels away or less."""
  found = np.zeros(labels.shape, bool)
  for axes in ((0, 1), (1, 0)):
    # Views, of which the first axis is now rows, now columns.
    labels, found = labels.transpose(axes), found.transpose(axes)
    differs = labels[reach:] != labels[:-reach]
    found[reach:] |= differs
    found[:-reach] |= differs
  return found.T


def draw_frame(picture: np.ndarray, area: np.ndarray) -> np.ndarray:
  """The picture with the border of an area, seen on any color.

  Args:
    picture: uint8 [H, W, 3].
    area: [H, W] bool; black inside its border, white outside.
  """
  drawn, border = np.array(picture), _outline(area, 1)
  drawn[border & area], drawn[border & ~area] = 0, 255
  return drawn


def share_image(share: np.ndarray) -> np.ndarray:
  """Shares [..., H, W] in [0, 1] to gray RGB; black is 0, NaN too."""
  gray = np.clip(np.nan_to_num(share), 0.0, 1.0) * 255
  return np.repeat(np.round(gray)[..., None], 3, axis=-1).astype(np.uint8)


def entropy_image(entropy: np.ndarray, num_classes: int) -> np.ndarray:
  """Entropy [..., H, W] in nats to gray RGB; white is the maximum, log K.

  NaN, of a network that has diverged, is white too.
  """
  gray = np.clip(entropy / np.log(num_classes), 0.0, 1.0) * 255
  gray = np.nan_to_num(gray, nan=255.0)
  return np.repeat(np.round(gray)[..., None], 3, axis=-1).astype(np.uint8)


def partition_image(taught: np.ndarray) -> np.ndarray:
  """Green where a pixel would be taught, else red.

  Args:
    taught: [B, H, W] bool.
  """
  colors = np.asarray([_UNRELIABLE_COLOR, _RELIABLE_COLOR], np.uint8)
  return colors[taught.astype(int)]


def summary_rows(
  images: np.ndarray,
  labels: np.ndarray,
  predictions: np.ndarray,
  entropy: np.ndarray,
  *,
  palette: Sequence[Sequence[int]],
  taught: np.ndarray | None = None,
) -> np.ndarray:
  """One row for each image: image, label, prediction, entropy, taught pixels.

  Args:
    images: uint8 [B, H, W, 3].
    labels: [B, H, W] in [0, K) or 255.
    predictions: [B, H, W] in [0, K).
    entropy: [B, H, W], nats.
    palette: [K, 3] RGB.
    taught: [B, H, W] bool, pixels that would be taught; None for no picture.

  Returns:
    uint8 [B, H, n W + (n - 1) gaps, 3] of n pictures.
  """
  predictions = np.where(labels == IGNORE_LABEL, IGNORE_LABEL, predictions)
  pictures = [
    images,
    colorize(labels, palette),
    colorize(predictions, palette),
    entropy_image(entropy, len(palette)),
  ]
  if taught is not None:
    pictures.append(partition_image(taught))
  gap = np.full((*images.shape[:2], _GAP, 3), 255, np.uint8)
  parts = [part for picture in pictures for part in (picture, gap)]
  return np.concatenate(parts[:-1], axis=2)


def draw_classes(
  labels: np.ndarray, palette: Sequence[Sequence[int]]
) -> Image.Image:
  """A picture whose pixels are class ids, with a color for each.

  Args:
    labels: uint8 [H, W]; 255 becomes white.
    palette: [K] RGB.
  """
  picture = Image.fromarray(np.ascontiguousarray(labels))
  has_ignored = (labels == IGNORE_LABEL).any()
  length = IGNORE_LABEL + 1 if has_ignored else len(palette)
  picture.putpalette(colorize(np.arange(length), palette).tobytes())
  return picture


def write_picture(path: epath.Path, picture: Image.Image) -> None:
  """Writes a PNG or JPEG file, as its name says; folders are made as needed.

  Raises:
    OSError: it cannot be written; the message names it.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  workdir.write_bytes(path, encode_picture(picture, path.suffix))


def encode_picture(picture: Image.Image, ending: str) -> bytes:
  """A PNG or JPEG file, as its ending says: ".png", ".jpg"."""
  encoded = io.BytesIO()
  file_format = Image.registered_extensions()[ending]
  picture.save(encoded, file_format, quality=90)  # Of JPEG.
  return encoded.getvalue()
