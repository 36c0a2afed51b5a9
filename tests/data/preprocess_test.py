"""Crops against resizing the whole image in numpy."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from u2pl_jax.data import preprocess

RNG = np.random.default_rng(0)


def resize_whole_image(image, scaled_hw):
  """Bilinear, half-pixel centres, no antialiasing; float64 [*scaled_hw, C]."""
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
  (y, x), (h, w) = window.offset.numpy(), window.hw.numpy()
  pixels = pixels[y : y + h, x : x + w]
  return pixels[:, ::-1] if window.flip else pixels


def make_window(scaled_hw, offset, hw, flip=False):
  sizes = [tf.constant(v, tf.int32) for v in (scaled_hw, offset, hw)]
  return preprocess.Window(*sizes, tf.constant(flip))


def draw_window(image_hw, draws, crop_size=(33, 41), **options):
  options = {"scale_range": (0.5, 2.0), "flip_prob": 0.5} | options
  return preprocess.random_window(
    tf.constant(image_hw, tf.int32),
    tf.convert_to_tensor(draws, tf.float64),
    crop_size=crop_size,
    **options,
  )


def random_windows(image_hw, count, **options):
  draws = np.random.default_rng(1).random((count, preprocess.NUM_DRAWS))
  draws = tf.data.Dataset.from_tensor_slices(draws)
  return draws.map(lambda d: draw_window(image_hw, d, **options))


@pytest.mark.parametrize("image_hw", [(40, 60), (75, 23), (1, 1), (9, 200)])
def test_crop_equals_crop_of_whole_resized_image(image_hw):
  image = RNG.integers(0, 256, (*image_hw, 3), np.uint8)
  label = RNG.integers(0, 256, (*image_hw, 1), np.uint8)
  for window in random_windows(image_hw, 40):
    scaled_hw = window.scaled_hw.numpy()
    expected = cut(resize_whole_image(image, scaled_hw), window)
    actual = preprocess.resize_image(image, window).numpy()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 0.5 + 1e-2
    expected = cut(resize_whole_label(label, scaled_hw), window)
    actual = preprocess.resize_label(label, window).numpy()
    np.testing.assert_array_equal(actual, expected)


def test_ops_do_the_same_inside_a_tf_data_map():
  image = RNG.integers(0, 256, (40, 60, 3), np.uint8)
  draws = RNG.random((5, preprocess.NUM_DRAWS))

  def crop(draws):
    window = preprocess.random_window(
      tf.shape(image)[:2],
      draws,
      crop_size=(33, 41),
      scale_range=(0.5, 2.0),
      flip_prob=0.5,
    )
    pixels = preprocess.resize_image(tf.constant(image), window)
    return preprocess.pad_to_crop(pixels, (33, 41), preprocess.MEAN_COLOR)

  mapped = tf.data.Dataset.from_tensor_slices(draws).map(crop)
  assert mapped.element_spec.shape == (33, 41, 3)
  for draw, actual in zip(draws, mapped.as_numpy_iterator()):
    np.testing.assert_array_equal(actual, crop(tf.constant(draw)))


def test_identity_window_changes_nothing():
  image = RNG.integers(0, 256, (7, 11, 3), np.uint8)
  window = make_window((7, 11), (0, 0), (7, 11))
  np.testing.assert_array_equal(preprocess.resize_image(image, window), image)


def test_doubling_blends_neighbours_by_hand():
  image = np.uint8([[[0], [100]]])
  window = make_window((1, 4), (0, 0), (1, 4))
  actual = preprocess.resize_image(image, window).numpy().ravel()
  assert actual.tolist() == [0, 25, 75, 100]
  flipped = make_window((1, 4), (0, 1), (1, 3), flip=True)
  actual = preprocess.resize_image(image, flipped).numpy().ravel()
  assert actual.tolist() == [100, 75, 25]


def test_half_of_the_scales_are_below_1_and_uniform_on_either_side():
  windows = list(random_windows((400, 600), 2000))
  heights = np.array([w.scaled_hw[0].numpy() for w in windows]) / 400
  assert heights.min() >= 0.5 - 1 / 400 and heights.max() <= 2
  edges = [0.5, 0.75, 1, 1.5, 2]
  counts, _ = np.histogram(heights, edges)
  # 4 standard errors of a share of a quarter.
  np.testing.assert_allclose(counts / 2000, 0.25, atol=0.039)


def test_offsets_are_uniform_and_half_of_the_crops_are_flipped():
  options = {"crop_size": (8, 5), "scale_range": (1.0, 1.0)}
  windows = list(random_windows((10, 5), 1500, **options))
  rows = np.bincount([w.offset[0].numpy() for w in windows], minlength=3)
  np.testing.assert_allclose(rows / 1500, 1 / 3, atol=0.05)
  assert all(w.offset[1].numpy() == 0 for w in windows)
  assert abs(np.mean([w.flip.numpy() for w in windows]) - 0.5) < 0.052


@pytest.mark.parametrize("flip_prob, flips", [(0.0, 0), (1.0, 20)])
def test_flip_prob_of_0_and_1_are_certain(flip_prob, flips):
  windows = random_windows((10, 5), 20, flip_prob=flip_prob)
  assert sum(bool(w.flip) for w in windows) == flips


def test_scaled_size_is_cut_to_whole_pixels_and_never_0():
  window = draw_window((33, 1), [0.0, 0.5, 0, 0, 0])
  assert window.scaled_hw.numpy().tolist() == [24, 1]  # 33 * 0.75 = 24.75


def test_odd_padding_goes_to_the_far_side():
  padded = preprocess.pad_to_crop(tf.ones((1, 2, 1), tf.uint8), (4, 3), (9,))
  expected = [[9, 9, 9], [1, 1, 9], [9, 9, 9], [9, 9, 9]]
  assert padded.numpy()[..., 0].tolist() == expected


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
  np.testing.assert_array_equal(decoded_label[..., 0], label)


def test_gray_images_become_rgb_and_labels_are_left_alone():
  image = RNG.integers(0, 256, (5, 6), np.uint8)
  serialized = serialize(image, image, kind="PNG")
  decoded, label = preprocess.decode_example(serialized, with_label=False)
  assert label is None
  np.testing.assert_array_equal(decoded, np.stack([image] * 3, -1))
