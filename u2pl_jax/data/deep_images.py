"""Pixels of more than 8 bits a channel, and how they become 8."""

from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from u2pl_jax.data import image_headers

_READ_AS_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
_LARGEST = 0xFFFF


def decode(
  file: BinaryIO,
  image: Image.Image,
  facts: image_headers.Facts,
  value_range: tuple[int, int] | None,
) -> tuple[np.ndarray, bool]:
  """Reads an image's pixels and scales them to 8 bits.

  A value v becomes 255 (v - low) / (high - low), rounded to the nearest (halves
  to even) and clipped to [0, 255]. Transparency is composited over white after
  that.

  Args:
    file: the image file.
    image: the same, opened by Pillow.
    facts: its header.
    value_range: (low, high), the values that become 0 and 255.

  Returns:
    uint8 [H, W, 3] RGB, of a TIFF as Pillow turns it by its tag; and whether
    there is transparency.

  Raises:
    RefusedError: there is no range, or pixels are of a kind that is not read.
  """
  if facts.bands == 1:
    values, alpha = _read_by_pillow(image, facts), None
  else:
    values, alpha = _read_by_opencv(file, facts)
  transparent = image.info.get("transparency")
  if alpha is None and values.ndim == 2 and isinstance(transparent, int):
    alpha = np.where(values == transparent, 0.0, 1.0)
  if value_range is None:
    raise image_headers.RefusedError(
      f"{facts.bits} bits a channel, values from {values.min()} to "
      f"{values.max()}; say which of them are black and white: "
      "--value_range=LOW,HIGH"
    )
  pixels = scale(values, value_range)
  if facts.is_white_zero:
    pixels = 255 - pixels
  if pixels.ndim == 2:
    pixels = np.repeat(pixels[..., None], 3, axis=-1)
  if alpha is not None:
    opaque = alpha[..., None]
    pixels = np.rint(pixels * opaque + 255 * (1 - opaque)).astype(np.uint8)
  return pixels, alpha is not None


def scale(values: np.ndarray, value_range: tuple[int, int]) -> np.ndarray:
  """Maps low..high to 0..255, as `decode` says.

  Args:
    values: integers [...].
    value_range: (low, high).

  Returns:
    uint8 [...].
  """
  low, high = value_range

  def to_8_bits(numbers):
    scaled = (numbers.astype(np.float64) - low) * 255 / (high - low)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)

  if values.dtype == np.uint16:
    return to_8_bits(np.arange(_LARGEST + 1))[values]
  return to_8_bits(values)


def _read_by_pillow(
  image: Image.Image, facts: image_headers.Facts
) -> np.ndarray:
  """Integers [H, W] of a gray TIFF."""
  values = np.asarray(image)
  if values.dtype.kind not in "iu":
    raise image_headers.RefusedError(
      f"{facts.bits} bits a channel; save it with 8 or 16"
    )
  if facts.is_unsigned and values.dtype.kind == "i":
    values = values.view(f"u{values.dtype.itemsize}")
  return values if values.dtype.itemsize > 2 else values.astype(np.uint16)


def _read_by_opencv(
  file: BinaryIO, facts: image_headers.Facts
) -> tuple[np.ndarray, np.ndarray | None]:
  """uint16 [H, W] or [H, W, 3] RGB, and float64 [H, W] opacity or None."""
  file.seek(0)
  content = np.frombuffer(file.read(), np.uint8)
  try:
    pixels = cv2.imdecode(content, _READ_AS_STORED)
  except cv2.error:
    pixels = None
  if pixels is None or pixels.dtype != np.uint16:
    raise image_headers.RefusedError(
      f"{facts.bits} bits a channel, of a kind that is not read"
    )
  if pixels.ndim == 2:
    return pixels, None
  colors = pixels[..., 2::-1]
  if pixels.shape[-1] == 3:
    return colors, None
  alpha = pixels[..., 3] / _LARGEST
  if facts.is_premultiplied:
    straight = colors / np.maximum(alpha, 1 / _LARGEST)[..., None]
    colors = np.clip(np.rint(straight), 0, _LARGEST).astype(np.uint16)
  return colors, alpha
