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

import numpy as np
import tensorflow as tf

# What is left of the image where the crop reaches beyond it: the mean colour,
# which is 0 after normalisation. Rounded (123.675, 116.28, 103.53).
MEAN_COLOR = (124, 116, 104)

# A third of a crop of common size is resampled within the cache of a core.
_NUM_STRIPS = 3

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
  height, width, channels = tf.unstack(tf.shape(image))
  h, w = tf.unstack(window.hw)
  y, x = tf.unstack(window.offset)
  left = tf.where(window.flip, window.scaled_hw[1] - x - w, x)
  # In strips of columns: what does not fit into the cache takes twice as long.
  # The last may reach beyond the window, by less than the number of strips.
  strip_w = -(-w // _NUM_STRIPS)
  lefts = [left + i * strip_w for i in range(_NUM_STRIPS)]
  axes = [0] + [1] * _NUM_STRIPS
  rows, *strips = _locate(
    tf.gather(tf.shape(image), axes),
    tf.gather(window.scaled_hw, axes),
    tf.stack([y] + lefts),
    tf.stack([h] + [strip_w] * _NUM_STRIPS),
  )
  # Whole rows are blended, which is several times as fast as single pixels;
  # hence columns become rows first. Mirrored, they count from the far side.
  low, high = strips[0].first, strips[-1].last
  pixels = tf.slice(
    tf.reshape(image, (height, -1)),
    (rows.first, tf.where(window.flip, width - 1 - high, low) * channels),
    (rows.last - rows.first + 1, (high - low + 1) * channels),
  )
  pixels = tf.reshape(tf.transpose(pixels), (high - low + 1, -1))
  parts = []
  for strip in strips:
    source = tf.range(strip.first, strip.last + 1)
    source = tf.where(window.flip, high - source, source - low)
    part = _resample(tf.gather(pixels, source), strip, strip_w)
    part = tf.transpose(tf.reshape(part, (strip_w * channels, -1)))
    parts.append(tf.cast(_resample(part + 0.5, rows, h), tf.uint8))
  pixels = tf.concat(parts, 1)[:, : w * channels]
  return tf.reshape(pixels, (h, w, channels))


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
  # Columns as rows: copying a row costs little more than copying a pixel.
  low = tf.minimum(columns[0], columns[-1])
  high = tf.maximum(columns[0], columns[-1])
  pixels = tf.slice(
    tf.squeeze(label, -1),
    (rows[0], low),
    (rows[-1] - rows[0] + 1, high - low + 1),
  )
  pixels = tf.transpose(tf.gather(tf.transpose(pixels), columns - low))
  return tf.expand_dims(tf.gather(pixels, rows - rows[0]), -1)


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
  # Rows are made of a row: repeating the colour itself takes many times longer.
  row = tf.constant(np.tile(color, crop_size[1]), image.dtype)
  channels = len(color)
  height, width, _ = tf.unstack(tf.shape(image))
  above, left = (crop_size[0] - height) // 2, (crop_size[1] - width) // 2

  def border(height, width):
    return tf.broadcast_to(row[: width * channels], (height, width * channels))

  rows = tf.reshape(image, (height, -1))
  right = border(height, crop_size[1] - width - left)
  rows = tf.concat((border(height, left), rows, right), 1)
  below = border(crop_size[0] - height - above, crop_size[1])
  rows = tf.concat((border(above, crop_size[1]), rows, below), 0)
  return tf.reshape(rows, (*crop_size, channels))


class _Source(NamedTuple):
  """Where pixels of a resized image come from, along one axis.

  Attributes:
    first: int32, the first pixel of the image that they depend on.
    last: int32, the last one.
    scale: float32, resized size by the size of the image.
    shift: float32, where the image from `first` on starts, resized, as seen
      from the first of the resized pixels.
  """

  first: tf.Tensor
  last: tf.Tensor
  scale: tf.Tensor
  shift: tf.Tensor


def _locate(
  sizes: tf.Tensor,
  scaled_sizes: tf.Tensor,
  offsets: tf.Tensor,
  counts: tf.Tensor,
) -> list[_Source]:
  """Returns where runs of pixels of resized images come from, along one axis.

  Args:
    sizes: [n] int32, sizes of the images.
    scaled_sizes: [n] int32, sizes of the resized images.
    offsets: [n] int32, the first resized pixel of each run.
    counts: [n] int32, how many there are in the run.
  """
  step = sizes / scaled_sizes
  start = tf.cast(offsets, tf.float64)
  ends = tf.stack((start, start + tf.cast(counts - 1, tf.float64)))
  first, last = tf.unstack(tf.cast((ends + 0.5) * step - 0.5, tf.int32))
  first = tf.minimum(first, sizes - 1)
  last = tf.minimum(last + 1, sizes - 1)
  scale = 1 / step
  shift = tf.cast(first, tf.float64) * scale - start
  scale, shift = (tf.cast(v, tf.float32) for v in (scale, shift))
  return list(map(_Source, *map(tf.unstack, (first, last, scale, shift))))


def _resample(
  pixels: tf.Tensor, source: _Source, count: tf.Tensor
) -> tf.Tensor:
  """Interpolates linearly between rows, from `source.first` to `source.last`.

  Args:
    pixels: [n, m], these rows.
    source: where each row of the result comes from.
    count: how many there are.

  Returns:
    float32 [count, m].
  """
  # Beyond an edge the weights of what is left are scaled up to 1: the pixel at
  # the edge is repeated.
  rows = tf.raw_ops.ScaleAndTranslate(
    images=tf.reshape(pixels, (1, -1, 1, tf.shape(pixels)[1])),
    size=(count, 1),
    scale=(source.scale, 1.0),
    translation=(source.shift, 0.0),
    kernel_type="triangle",
    antialias=False,
  )
  return tf.reshape(rows, (count, -1))


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
