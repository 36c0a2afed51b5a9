"""TensorFlow ops that turn one stored example into one training crop.

Everything here is a pure function of its arguments: random augmentation takes
its random numbers as an argument, so that an example looks the same on
whatever host and in whatever run it is made.

Random scale, crop and flip work out the crop first and resample only what is
seen of it. The result is that of resizing the whole image (bilinear, half-pixel
centres, no antialiasing; masks by nearest neighbour) and cropping it then.

Images stay uint8 RGB; they are normalised on the device.
"""

from typing import NamedTuple

import tensorflow as tf

# What is left of the image where the crop reaches beyond it: the mean colour,
# which is 0 after normalisation. Rounded (123.675, 116.28, 103.53).
MEAN_COLOR = (124, 116, 104)

# Numbers that `random_window` draws from for one example.
NUM_DRAWS = 5

_FEATURES = {
  "image": tf.io.FixedLenFeature((), tf.string),
  "label": tf.io.FixedLenFeature((), tf.string),
}


class Window(NamedTuple):
  """A crop of a resized, perhaps mirrored image: what is seen of the image.

  Attributes:
    scaled_hw: [2] int32, size of the whole resized image.
    offset: [2] int32, first row and column seen, counted before mirroring.
    hw: [2] int32, number of rows and columns seen; at most the crop size.
    flip: scalar bool, whether the window is mirrored left to right.
  """

  scaled_hw: tf.Tensor
  offset: tf.Tensor
  hw: tf.Tensor
  flip: tf.Tensor


def decode_example(
  serialized: tf.Tensor, *, with_label: bool
) -> tuple[tf.Tensor, tf.Tensor | None]:
  """Decodes a stored example.

  Args:
    serialized: scalar string, a record of a prepared dataset.
    with_label: whether to decode the mask as well.

  Returns:
    image uint8 [H, W, 3] RGB and label uint8 [H, W, 1], or None without.
  """
  example = tf.io.parse_single_example(serialized, _FEATURES)
  # Reads PNG as well. The default, faster DCT is up to several levels off.
  image = tf.io.decode_jpeg(
    example["image"], channels=3, dct_method="INTEGER_ACCURATE"
  )
  if not with_label:
    return image, None
  return image, tf.io.decode_png(example["label"], channels=1)


def random_window(
  image_hw: tf.Tensor,
  draws: tf.Tensor,
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
    image_hw: [2] int32, size of the image.
    draws: [NUM_DRAWS] float64 in [0, 1): half, scale, row, column, flip.
    crop_size: (height, width) of the crop.
    scale_range: smallest and greatest scale; 1 must lie between.
    flip_prob: probability of mirroring.

  Returns:
    The window, to be resampled by `resize_image` and `resize_label`.

  Reference: U2PL, u2pl/dataset/augmentation.py, `RandResize`, `Crop`.
  """
  low, high = scale_range
  scale = tf.where(
    draws[0] < 0.5, low + draws[1] * (1 - low), 1 + draws[1] * (high - 1)
  )
  scaled_hw = tf.cast(tf.cast(image_hw, tf.float64) * scale, tf.int32)
  scaled_hw = tf.maximum(scaled_hw, 1)
  hw = tf.minimum(scaled_hw, crop_size)
  num_offsets = tf.cast(scaled_hw - hw + 1, tf.float64)
  offset = tf.cast(draws[2:4] * num_offsets, tf.int32)
  return Window(scaled_hw, offset, hw, draws[4] < flip_prob)


def resize_image(image: tf.Tensor, window: Window) -> tf.Tensor:
  """Resamples the part of `image` that `window` shows, bilinearly.

  Args:
    image: uint8 [H, W, C].
    window: what to show.

  Returns:
    uint8 [*window.hw, C].
  """
  size = tf.shape(image)
  top, bottom, y_weight = _bilinear_source(size[0], window, axis=0)
  left, right, x_weight = _bilinear_source(size[1], window, axis=1)
  # Columns first and of needed rows only: gathering columns costs the most.
  first = top[0]
  image = image[first : bottom[-1] + 1]
  columns = _blend(image, left, right, x_weight[:, None], axis=1)
  top, bottom = top - first, bottom - first
  pixels = _blend(columns, top, bottom, y_weight[:, None, None], axis=0)
  return tf.cast(pixels + 0.5, tf.uint8)


def resize_label(label: tf.Tensor, window: Window) -> tf.Tensor:
  """Resamples the part of `label` that `window` shows, by nearest neighbour.

  As in torch, the source of pixel i is floor(i * in / out), in float32.

  Args:
    label: uint8 [H, W, 1].
    window: what to show.

  Returns:
    uint8 [*window.hw, 1].
  """
  size = tf.shape(label)
  rows = _nearest_source(size[0], window, axis=0)
  columns = _nearest_source(size[1], window, axis=1)
  return tf.gather(tf.gather(label, rows), columns, axis=1)


def center_crop(image: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
  """Cuts the centre of `image`; a side shorter than the crop is kept whole.

  Args:
    image: [H, W, C].
    crop_size: (height, width) of the crop.

  Returns:
    [min(H, crop height), min(W, crop width), C].
  """
  size = tf.shape(image)[:2]
  hw = tf.minimum(size, crop_size)
  offset = (size - hw) // 2
  return tf.slice(
    image, tf.pad(offset, [[0, 1]]), tf.pad(hw, [[0, 1]], constant_values=-1)
  )


def pad_to_crop(
  image: tf.Tensor, crop_size: tuple[int, int], color: tuple[int, ...]
) -> tf.Tensor:
  """Pads `image` on all sides to the crop; an odd pixel goes to the far side.

  Args:
    image: [h, w, C], at most as large as the crop.
    crop_size: (height, width) of the crop.
    color: [C] value of the new pixels.

  Returns:
    [*crop_size, C], of the type of `image`.
  """
  for axis in (1, 0):
    missing = crop_size[axis] - tf.shape(image)[axis]
    parts = [image]
    for position, count in ((0, missing // 2), (2, missing - missing // 2)):
      shape = tf.shape(image)
      shape = tf.tensor_scatter_nd_update(shape, [[axis]], [count])
      border = tf.broadcast_to(tf.constant(color, image.dtype), shape)
      parts.insert(position, border)
    image = tf.concat(parts, axis)
  return tf.ensure_shape(image, (*crop_size, len(color)))


def _bilinear_source(
  size: tf.Tensor, window: Window, *, axis: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Returns the two source pixels of each output pixel, second's weight."""
  position = tf.cast(_positions(window, axis), tf.float32)
  scale = tf.cast(size / window.scaled_hw[axis], tf.float32)
  source = tf.maximum((position + 0.5) * scale - 0.5, 0.0)
  low = tf.minimum(tf.cast(source, tf.int32), size - 1)
  return low, tf.minimum(low + 1, size - 1), source - tf.cast(low, tf.float32)


def _nearest_source(size: tf.Tensor, window: Window, *, axis: int) -> tf.Tensor:
  """Returns the source pixel of each output pixel."""
  position = tf.cast(_positions(window, axis), tf.float32)
  scale = tf.cast(size / window.scaled_hw[axis], tf.float32)
  return tf.minimum(tf.cast(position * scale, tf.int32), size - 1)


def _positions(window: Window, axis: int) -> tf.Tensor:
  """Returns the rows or columns of the whole resized image in the window."""
  positions = window.offset[axis] + tf.range(window.hw[axis])
  if axis == 0:
    return positions
  return tf.where(window.flip, positions[::-1], positions)


def _blend(
  values: tf.Tensor,
  first: tf.Tensor,
  second: tf.Tensor,
  weight: tf.Tensor,
  *,
  axis: int,
) -> tf.Tensor:
  """Interpolates linearly between two gathered sets of rows or columns."""
  a = tf.cast(tf.gather(values, first, axis=axis), tf.float32)
  b = tf.cast(tf.gather(values, second, axis=axis), tf.float32)
  return a + (b - a) * weight
