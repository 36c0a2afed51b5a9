"""Crops against resizing the whole image in numpy."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from u2pl_jax.data import preprocess

RNG = np.random.default_rng(0)


def resize_whole_image(image, scaled_hw):
  """Bilinear, half-pixel centers, no antialiasing; float64 [*scaled_hw, C]."""
  result = image.astype(np.float64)
  for axis, size in enumerate(scaled_hw):
    source_size = image.shape[axis]
    source = (np.arange(size) + 0.5) * source_size / size - 0.5
    source = source.clip(0, source_size - 1)
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, source_size - 1)
    shape = [1, 1, 1]
    shape[axis] = size
    weight = (source - low).reshape(shape)
    low, high = np.take(result, low, axis), np.take(result, high, axis)
    result = (1 - weight) * low + weight * high
  return result


def resize_whole_label(label, scaled_hw):
  for axis, size in enumerate(scaled_hw):
    scale = np.float32(label.shape[axis] / size)
    source = np.floor(np.arange(size, dtype=np.float32) * scale).astype(int)
    label = np.take(label, source.clip(max=label.shape[axis] - 1), axis)
  return label


def cut(pixels, window):
  """The window of a whole resized image, mirrored."""
  (y, x), (h, w) = window.offset, window.hw
  pixels = pixels[y : y + h, x : x + w]
  return pixels[:, ::-1] if window.flip else pixels


def draw_window(image_hw, draws, crop_size=(33, 41), **options):
  options = {"scale_range": (0.5, 2.0), "flip_prob": 0.5} | options
  return preprocess.random_window(
    image_hw, draws, crop_size=crop_size, **options
  )


def random_windows(image_hw, count, **options):
  draws = np.random.default_rng(1).random((count, preprocess.NUM_DRAWS))
  return [draw_window(image_hw, row, **options) for row in draws]


def assert_crop_of_whole(image, label, window):
  """Half a level from exact by rounding, and 0.4 by weights of 11 bits."""
  scaled_hw = window.scaled_hw
  expected = cut(resize_whole_image(image, scaled_hw), window)
  actual = preprocess.resize_image(image, window)
  assert actual.shape == expected.shape and actual.dtype == np.uint8
  assert np.abs(actual - expected).max() < 0.9
  expected = cut(resize_whole_label(label, scaled_hw), window)
  actual = preprocess.resize_label(label, window)
  np.testing.assert_array_equal(actual, expected)


def draw_pixels(image_hw):
  shapes = (*image_hw, 3), image_hw
  return (RNG.integers(0, 256, shape, np.uint8) for shape in shapes)


@pytest.mark.parametrize("image_hw", [(40, 60), (75, 23), (1, 1), (9, 200)])
def test_crop_equals_crop_of_whole_resized_image(image_hw):
  image, label = draw_pixels(image_hw)
  for window in random_windows(image_hw, 40):
    assert_crop_of_whole(image, label, window)


@pytest.mark.parametrize("flip", [False, True], ids=["plain", "mirrored"])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
  "image_hw", [(1, 1), (2, 1), (33, 41), (47, 70), (12, 1999)]
)
def test_crops_at_both_ends_of_scales_and_offsets(image_hw, scale, flip):
  """Odd sizes, and images below the crop, too."""
  scaled_hw = np.maximum((np.array(image_hw) * scale).astype(int), 1)
  hw = np.minimum(scaled_hw, (33, 41))
  for offset in (np.zeros(2), scaled_hw - hw):
    window = preprocess.Window(
      *(tuple(map(int, v)) for v in (scaled_hw, offset, hw)), flip
    )
    assert_crop_of_whole(*draw_pixels(image_hw), window)


def test_greatest_draws_reach_the_far_ends():
  ends = [0.9, 1 - 1e-12, 1 - 1e-12, 1 - 1e-12, 0.0]
  window = draw_window((40, 60), ends, scale_range=(0.5, 2.01))
  assert window.scaled_hw == (80, 120)
  assert window.offset == (80 - 33, 120 - 41)


@pytest.mark.parametrize("value", [0, 1, 254, 255])
def test_plain_images_stay_plain(value):
  """No rounding error turns 255 into 256, which is 0."""
  image = np.full((31, 57, 3), value, np.uint8)
  for window in random_windows((31, 57), 30):
    assert (preprocess.resize_image(image, window) == value).all()


def test_identity_window_changes_nothing():
  image = RNG.integers(0, 256, (7, 11, 3), np.uint8)
  window = preprocess.Window((7, 11), (0, 0), (7, 11), False)
  np.testing.assert_array_equal(preprocess.resize_image(image, window), image)


def test_doubling_blends_neighbors_by_hand():
  image = np.uint8([[[0], [100]]])
  window = preprocess.Window((1, 4), (0, 0), (1, 4), False)
  actual = preprocess.resize_image(image, window).ravel()
  assert actual.tolist() == [0, 25, 75, 100]
  flipped = preprocess.Window((1, 4), (0, 1), (1, 3), True)
  actual = preprocess.resize_image(image, flipped).ravel()
  assert actual.tolist() == [100, 75, 25]


def assert_uniform(values, below):
  """Kolmogorov's test against the uniform distribution on [0, below).

  A true sample fails once in 16,000 times.
  """
  values = np.sort(values) / below
  assert values.min() >= 0 and values.max() < 1
  steps = np.arange(len(values) + 1) / len(values)
  distance = max((steps[1:] - values).max(), (values - steps[:-1]).max())
  assert distance < 2.28 / np.sqrt(len(values))


def test_half_of_the_scales_are_below_1_and_uniform_on_either_side():
  windows = random_windows((4000, 6000), 2000)
  heights, widths = np.array([w.scaled_hw for w in windows]).T
  np.testing.assert_allclose(heights / 4000, widths / 6000, atol=1 / 4000)
  below = heights < 4000
  # 4 standard errors of a share of a half.
  assert abs(below.mean() - 0.5) < 0.045
  assert_uniform(heights[below] - 2000, 2000)
  assert_uniform(heights[~below] - 4000, 4001)


def test_offsets_are_uniform_up_to_the_far_end():
  options = {"crop_size": (8, 5), "scale_range": (1.0, 1.0)}
  windows = random_windows((10, 5), 1500, **options)
  rows = np.bincount([w.offset[0] for w in windows], minlength=3)
  np.testing.assert_allclose(rows / 1500, 1 / 3, atol=0.05)
  assert all(w.offset[1] == 0 for w in windows)


def test_scale_offsets_and_flip_are_drawn_apart():
  windows = random_windows((900, 900), 2000, crop_size=(200, 200))
  free = np.array([np.subtract(w.scaled_hw, w.hw) + 1 for w in windows])
  places = np.array([w.offset for w in windows]) / free
  for axis in (0, 1):
    # Offsets are whole numbers: their steps, of 1/251 at most, show.
    assert_uniform(places[:, axis] + 0.5 / free[:, axis], 1.0)
  flips = np.array([w.flip for w in windows])
  assert abs(flips.mean() - 0.5) < 0.045
  scales = [w.scaled_hw[0] for w in windows]
  correlation = np.corrcoef([scales, *places.T, flips])
  assert np.abs(correlation - np.eye(4)).max() < 4 / np.sqrt(2000)


@pytest.mark.parametrize("flip_prob, flips", [(0.0, 0), (1.0, 20)])
def test_flip_prob_of_0_and_1_are_certain(flip_prob, flips):
  windows = random_windows((10, 5), 20, flip_prob=flip_prob)
  assert sum(w.flip for w in windows) == flips


def test_scaled_size_is_cut_to_whole_pixels_and_never_0():
  window = draw_window((33, 1), [0.0, 0.5, 0, 0, 0])
  assert window.scaled_hw == (24, 1)  # 33 * 0.75 = 24.75


@pytest.mark.parametrize("hw", [(6, 7), (6, 4), (3, 7), (1, 2)])
def test_padding_keeps_the_image_in_the_middle(hw):
  image = RNG.integers(0, 256, (*hw, 3), np.uint8)
  color = (9, 80, 200)
  y, x = (6 - hw[0]) // 2, (7 - hw[1]) // 2
  expected = np.tile(np.uint8(color), (6, 7, 1))
  expected[y : y + hw[0], x : x + hw[1]] = image
  padded = preprocess.pad_to_crop(image, (6, 7), color)
  np.testing.assert_array_equal(padded, expected)


def test_odd_padding_goes_to_the_far_side():
  padded = preprocess.pad_to_crop(np.ones((1, 2), np.uint8), (4, 3), 9)
  expected = [[9, 9, 9], [1, 1, 9], [9, 9, 9], [9, 9, 9]]
  assert padded.tolist() == expected


def serialize(image, label, **options):
  def encode(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    value = tf.train.BytesList(value=[buffer.getvalue()])
    return tf.train.Feature(bytes_list=value)

  feature = {
    "image": encode(image, **options),
    "label": encode(label, kind="PNG"),
  }
  example = tf.train.Example(features=tf.train.Features(feature=feature))
  return example.SerializeToString()


@pytest.mark.parametrize(
  "options", [{"kind": "PNG"}, {"kind": "JPEG", "quality": 90}]
)
def test_decoding_gives_the_pixels_that_pillow_gives(options):
  axis = np.arange(48)
  image = np.stack(
    np.broadcast_arrays(axis[:, None] * 5, axis * 5, 100), -1
  ).astype(np.uint8)
  label = RNG.integers(0, 256, (48, 48), np.uint8)
  buffer = io.BytesIO()
  kind = options["kind"]
  extra = {k: v for k, v in options.items() if k != "kind"}
  Image.fromarray(image).save(buffer, kind, **extra)
  expected = np.asarray(Image.open(buffer))
  serialized = serialize(image, label, **options)
  decoded, decoded_label = preprocess.decode_example(
    serialized, with_label=True
  )
  assert np.abs(decoded.numpy().astype(int) - expected).max() <= 1
  np.testing.assert_array_equal(decoded_label, label)


def test_gray_images_become_rgb_and_labels_are_left_out():
  image = RNG.integers(0, 256, (5, 6), np.uint8)
  serialized = serialize(image, image, kind="PNG")
  (decoded,) = preprocess.decode_example(serialized, with_label=False)
  np.testing.assert_array_equal(decoded, np.stack([image] * 3, -1))


class TestLongSide:
  """The long side is any whole number in the range, both ends included."""

  @pytest.mark.parametrize(
    ("place", "expected"), [(0.0, (25, 33)), (0.999999, (100, 132))]
  )
  def test_ends_of_the_range(self, place, expected):
    window = preprocess.random_long_side(
      (50, 66),
      np.array([0.0, place, 0.0, 0.0, 0.9]),
      crop_size=(40, 40),
      scale_range=(0.5, 2.0),
      flip_prob=0.5,
    )
    assert window.scaled_hw == expected
    assert window.hw == tuple(min(side, 40) for side in expected)
    assert window.offset == (0, 0) and not window.flip

  def test_the_short_side_is_rounded(self):
    assert preprocess.long_side_size((3, 7), 5) == (2, 5)
    assert preprocess.long_side_size((7, 3), 10) == (10, 4)
    assert preprocess.long_side_size((6, 6), 9) == (9, 9)
    assert preprocess.long_side_size((1, 100), 20) == (1, 20)

  def test_shrinking_averages_and_masks_pick_pixels(self):
    image = np.zeros((4, 4, 3), np.uint8)
    image[::2] = 200  # Every other row.
    window = preprocess.Window((2, 4), (0, 0), (2, 4), False)
    shrunk = preprocess.resize_smoothly(image, window)
    assert 60 < shrunk.min() and shrunk.max() < 140
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    np.testing.assert_array_equal(
      preprocess.resize_smoothly(mask, window), mask[1::2]
    )


def test_padding_lies_where_it_is_asked_for():
  pixels = np.full((1, 2), 7, np.uint8)
  below = preprocess.pad_to_crop(pixels, (2, 3), 0, (0.0, 0.0))
  np.testing.assert_array_equal(below, [[7, 7, 0], [0, 0, 0]])
  left = preprocess.pad_to_crop(pixels, (2, 3), 0, (0.0, 1.0))
  np.testing.assert_array_equal(left, [[0, 7, 7], [0, 0, 0]])
