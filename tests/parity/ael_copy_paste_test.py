"""The published dataset of image and partner, and the copy-paste."""

import json

import jax
import numpy as np

from tests.parity import golden, tiny_net
from u2pl_jax.data import preprocess
from u2pl_jax.methods.u2pl_ael import confidence, copy_paste
from u2pl_jax.ops import normalize, resize


def _window(shape, draws, size):
  """The crop that recorded draws make of an image."""
  scale, flip, y, x = draws
  scaled = tuple(int(side * scale) for side in shape)
  hw = tuple(map(min, scaled, size))
  # Offsets are counted in the padded image there, after it was mirrored.
  y = int(y) if scaled[0] > size[0] else 0
  x = int(x) if scaled[1] > size[1] else 0
  if flip:
    x = scaled[1] - hw[1] - x
  return preprocess.Window(scaled, (y, x), hw, bool(flip))


def _pad(pixels, size):
  """[h, w, ...] to the crop, centered, with zeros."""
  room = [large - small for small, large in zip(pixels.shape, size)]
  ends = [(n // 2, n - n // 2) for n in room]
  return np.pad(pixels, ends + [(0, 0)] * (pixels.ndim - 2))


def _crop(arrays, source, draws, size):
  """Normalized image, in floats and by the pipeline in levels; and label."""
  if source < 0:
    return np.zeros((*size, 3)), None, np.zeros(size, np.uint8)
  rgb, label = arrays[f"source{source}/rgb"], arrays[f"source{source}/label"]
  window = _window(label.shape, draws, size)
  exact = np.asarray(normalize.normalize(rgb))[None]
  exact = np.asarray(
    resize.resize_bilinear(exact, window.scaled_hw, align_corners=False)
  )[0]
  levels = preprocess.resize_image(rgb, window)
  return (
    _pad(window.cut(exact.copy()), size),
    _pad(np.asarray(normalize.normalize(levels)), size),
    _pad(preprocess.resize_label(label, window), size),
  )


def _items(arrays):
  """(recorded item, our image and label, our partner's) of each item."""
  size = tuple(json.loads(str(arrays["config_json"]))["crop"])
  items = tiny_net.cases(arrays, "item")
  assert items
  for item in items:
    own = _crop(arrays, int(item["source"]), item["scale_flip_yoff_xoff"], size)
    partner = _crop(
      arrays,
      int(item["partner_source"]),
      item["partner_scale_flip_yoff_xoff"],
      size,
    )
    yield item, own, partner


@golden.every_file("ael_copy_paste")
def test_images_and_labels_of_the_published_dataset(path):
  """Images within 1e-5 by float arithmetic, labels exact."""
  for item, *ours in _items(golden.load(path)):
    images = golden.channels_last(
      item["image_6ch"].reshape(2, 3, *ours[0][2].shape)
    )
    labels = item["label_stacked"].reshape(2, *ours[0][2].shape)
    for (exact, levels, label), image, expected in zip(
      ours, images, labels, strict=True
    ):
      np.testing.assert_array_equal(label, expected)
      np.testing.assert_allclose(exact, image, rtol=0, atol=1e-5)
      if levels is not None:
        # Resized in levels of 255: as in augmentation_test, but from uint8.
        error = abs(levels - image) * np.asarray(normalize.STD_RGB)
        assert error.max() <= 1


def _mix(arrays, mix):
  """Images and labels after copy-paste, and pixels replaced in each image."""
  items = tiny_net.cases(arrays, "item")
  height, width = json.loads(str(arrays["config_json"]))["crop"]
  images = np.stack([item["image_6ch"] for item in items])
  own, partner = (golden.channels_last(images[:, i : i + 3]) for i in (0, 3))
  labels = np.stack([item["label_stacked"] for item in items]).astype(np.int32)
  chosen = np.zeros((len(items), 256), bool)
  chosen[:, mix["classes_drawn"]] = True
  images, labels, pasted = copy_paste.paste(
    own, labels[:, :height], partner, labels[:, height:], chosen
  )
  return images, labels, np.sum(pasted, axis=(1, 2))


@golden.every_file("ael_copy_paste")
def test_mixes(path):
  arrays = golden.load(path)
  mixes = tiny_net.cases(arrays, "mix")
  assert mixes
  for mix in mixes:
    images, labels, pasted = _mix(arrays, mix)
    np.testing.assert_array_equal(labels, mix["label"])
    np.testing.assert_array_equal(pasted, mix["pasted_pixels"])
    expected = golden.channels_last(mix["image"])
    actual = images[:, ::2, ::2]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@golden.every_file("ael_copy_paste")
def test_probabilities_of_the_classes(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  names = [str(c) for c in range(config["K"])]
  excluded = [c for c in config["copy_paste_excluded"] if c < config["K"]]
  allowed = copy_paste.find_allowed(excluded, names)
  classes = arrays["draw/class_list"]
  np.testing.assert_array_equal(np.flatnonzero(allowed), classes)
  actual = confidence.class_probability(
    arrays["draw/class_confidence"], power=0.5, is_allowed=allowed
  )[classes]
  expected = arrays["draw/class_probability"]
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
  # Nothing else is drawn.
  probability = np.zeros(config["K"])
  probability[classes] = expected
  drawn = copy_paste.draw_classes(jax.random.key(0), probability, 500, 3)
  assert not np.any(drawn[:, ~allowed])
  assert set(np.sum(drawn, axis=1).tolist()) == {1, 2, 3}
