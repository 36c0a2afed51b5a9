"""What turns one stored example into one crop, on the host.

Everything here is a pure function of its arguments: random augmentation takes
its random numbers as an argument, so that an example looks the same on
whatever host and in whatever run it is made.

TensorFlow decodes; the rest is numpy and OpenCV, which resizes whole images in
8-bit arithmetic faster than TensorFlow resizes what the crop shows of them.

Images stay uint8 RGB; they are normalized on the device.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from PIL import Image

from u2pl_jax.data import image_files

# Numbers that `random_window` draws from for one example.
NUM_DRAWS = 5

_FEATURES = {
  "image": tf.io.FixedLenFeature((), tf.string),
  "label": tf.io.FixedLenFeature((), tf.string),
}


class Window(NamedTuple):
  """A crop of a resized, perhaps mirrored image: what is seen of the image.

  Attributes:
    scaled_hw: size of the whole resized image.
    offset: first row and column seen, counted before mirroring.
    hw: number of rows and columns seen; at most the crop size.
    flip: whether the resized image is mirrored left to right.
  """

  scaled_hw: tuple[int, int]
  offset: tuple[int, int]
  hw: tuple[int, int]
  flip: bool

  def cut(self, pixels: np.ndarray) -> np.ndarray:
    """The window, of the whole resized image [*scaled_hw, ...]."""
    y, x = self.offset
    h, w = self.hw
    pixels = pixels[y : y + h, x : x + w]
    return cv2.flip(pixels, 1).reshape(pixels.shape) if self.flip else pixels


def decode_example(
  serialized: tf.Tensor, *, with_label: bool
) -> list[tf.Tensor]:
  """Decodes a stored example.

  Args:
    serialized: scalar string, a record of a prepared dataset.
    with_label: whether to decode the mask as well.

  Returns:
    image uint8 [H, W, 3] RGB and, if asked for, label uint8 [H, W].
  """
  example = tf.io.parse_single_example(serialized, _FEATURES)
  # Reads PNG as well. The default, faster DCT is up to several levels off.
  image = tf.io.decode_jpeg(
    example["image"], channels=3, dct_method="INTEGER_ACCURATE"
  )
  if not with_label:
    return [image]
  return [image, _decode_mask(example["label"])]


def decode_label(serialized: tf.Tensor) -> tf.Tensor:
  """The mask of a stored example alone, uint8 [H, W]."""
  example = tf.io.parse_single_example(serialized, _FEATURES)
  return _decode_mask(example["label"])


def _decode_mask(encoded: tf.Tensor) -> tf.Tensor:
  return tf.squeeze(tf.io.decode_png(encoded, channels=1), -1)


def read_size(serialized: bytes) -> tuple[int, int]:
  """(height, width) of a stored example's image, which is not decoded."""
  features = tf.train.Example.FromString(serialized).features.feature
  encoded = features["image"].bytes_list.value[0]
  return image_files.read_header(encoded).stored_size


def read_sizes(
  read: Callable[[np.ndarray], np.ndarray], records: Iterable[int]
) -> list[tuple[int, int]]:
  """(height, width) of the images of records.

  Args:
    read: of `reading.record_reader`.
    records: which ones.
  """
  return [read_size(read(np.array([record]))[0]) for record in records]


def random_window(
  image_hw: tuple[int, int],
  draws: np.ndarray,
  *,
  crop_size: tuple[int, int],
  scale_range: tuple[float, float],
  flip_prob: float,
) -> Window:
  """Draws a random scale, crop and flip.

  Half of the scales are uniform in [scale_range[0], 1], half in
  [1, scale_range[1]]. Crops are uniform over all that lie in the resized
  image; a side shorter than the crop is seen whole.

  Args:
    image_hw: size of the image.
    draws: [NUM_DRAWS] float64 in [0, 1): half, scale, row, column, flip.
    crop_size: (height, width) of the crop.
    scale_range: smallest and greatest scale; 1 must lie between.
    flip_prob: probability of mirroring.

  Returns:
    The window, to be resampled by `resize_image` and `resize_label`.

  Reference: U2PL, u2pl/dataset/augmentation.py, `RandResize`, `Crop`.
  """
  half, place, row, column, side = draws
  low, high = scale_range
  scale = low + place * (1 - low) if half < 0.5 else 1 + place * (high - 1)
  scaled_h, scaled_w = (max(int(length * scale), 1) for length in image_hw)
  h, w = min(scaled_h, crop_size[0]), min(scaled_w, crop_size[1])
  offset = int(row * (scaled_h - h + 1)), int(column * (scaled_w - w + 1))
  return Window((scaled_h, scaled_w), offset, (h, w), side < flip_prob)


def random_long_side(
  image_hw: tuple[int, int],
  draws: np.ndarray,
  *,
  crop_size: tuple[int, int],
  scale_range: tuple[float, float],
  flip_prob: float,
) -> Window:
  """As `random_window`, but the length of the longer side is drawn.

  It is uniform over the whole numbers between the scales times its length,
  cut off to whole numbers themselves, both ends included.

  Reference: UniMatch dataset/transform.py, `resize` and `crop`.
  """
  _, place, row, column, side = draws
  low, high = (int(max(image_hw) * scale) for scale in scale_range)
  scaled_hw = long_side_size(
    image_hw, max(low + int(place * (high - low + 1)), 1)
  )
  h, w = map(min, scaled_hw, crop_size)
  offset = (
    int(row * (scaled_hw[0] - h + 1)),
    int(column * (scaled_hw[1] - w + 1)),
  )
  return Window(scaled_hw, offset, (h, w), side < flip_prob)


def long_side_size(image_hw: tuple[int, int], length: int) -> tuple[int, int]:
  """The size whose longer side has a length; the other one is rounded."""
  longest = max(image_hw)
  return tuple(
    length if side == longest else max(int(side * length / longest + 0.5), 1)
    for side in image_hw
  )


def resize_image(image: np.ndarray, window: Window) -> np.ndarray:
  """What `window` shows of `image`, resized bilinearly.

  Half-pixel centers, no antialiasing, in fixed point: less than a level from
  the exact value.

  Args:
    image: uint8 [H, W, C].
    window: what to show.

  Returns:
    uint8 [*window.hw, C].
  """
  scaled = cv2.resize(image, window.scaled_hw[::-1])
  return window.cut(scaled.reshape(*window.scaled_hw, -1))


def resize_label(label: np.ndarray, window: Window) -> np.ndarray:
  """What `window` shows of `label`, resized by nearest neighbor.

  As in torch, the source of pixel i is floor(i * in / out), in float32.

  Args:
    label: uint8 [H, W].
    window: what to show.

  Returns:
    uint8 [*window.hw].
  """
  rows, columns = (
    _nearest_source(length, scaled_length)[start : start + count]
    for length, scaled_length, start, count in zip(
      label.shape, window.scaled_hw, window.offset, window.hw, strict=True
    )
  )
  if window.flip:
    columns = columns[::-1]
  return label.take(rows, axis=0).take(columns, axis=1)


def _nearest_source(length: int, scaled_length: int) -> np.ndarray:
  """The source of each pixel of a resized side; int32 [scaled_length]."""
  scale = np.float32(length / scaled_length)
  source = np.arange(scaled_length, dtype=np.float32) * scale
  return np.minimum(source.astype(np.int32), length - 1)


def resize_smoothly(pixels: np.ndarray, window: Window) -> np.ndarray:
  """What `window` shows of an image or a mask, resized by Pillow.

  Args:
    pixels: uint8, an image [H, W, 3], which is resized bilinearly with
      antialiasing, or a mask [H, W], by nearest neighbor.
    window: what to show.

  Returns:
    uint8 [*window.hw, ...].
  """
  rule = (
    Image.Resampling.BILINEAR if pixels.ndim == 3 else Image.Resampling.NEAREST
  )
  scaled = Image.fromarray(pixels).resize(window.scaled_hw[::-1], rule)
  return window.cut(np.asarray(scaled))


def pad_to_crop(
  image: np.ndarray,
  crop_size: tuple[int, int],
  color: int | tuple[int, ...],
  before: tuple[float, float] = (0.5, 0.5),
) -> np.ndarray:
  """Pads `image` to the crop; of an odd pixel the far side has more.

  Args:
    image: uint8 [h, w, C] or [h, w], at most as large as the crop.
    crop_size: (height, width) of the crop.
    color: value of the new pixels, of each channel.
    before: shares of the padding that lie above and to the left.

  Returns:
    [*crop_size, C] or [*crop_size].
  """
  height, width = image.shape[:2]
  below, right = crop_size[0] - height, crop_size[1] - width
  above, left = int(below * before[0]), int(right * before[1])
  return cv2.copyMakeBorder(
    image,
    above,
    below - above,
    left,
    right - left,
    cv2.BORDER_CONSTANT,
    value=color,
  )
