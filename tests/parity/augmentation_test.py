"""Strong augmentation, crops and normalization as in the published code.

Random choices are compared by their statistics, within four standard errors;
what follows from a choice is compared value by value.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import chance, golden
from u2pl_jax import IGNORE_LABEL
from u2pl_jax.data import preprocess
from u2pl_jax.ops import crop, mixing, normalize

# Draws here, and draws that were recorded.
_DRAWS = 4000
_BOX_DRAWS = 500
_RECORDED_MASKS = 2000
_RECORDED_SCALES = 20000


def _cases(arrays, pattern):
  """{case: {field: array}} of names CASE/FIELD whose case the pattern fits."""
  found = {}
  for name, array in arrays.items():
    case, _, field = name.partition("/")
    if re.fullmatch(pattern, case):
      found.setdefault(case, {})[field] = array
  assert found
  return found


@golden.once_per_input
def _draw_boxes(height, width):
  """(top, left, height, width), each [draws], of the boxes that are cut."""

  def count(key):
    inside = ~mixing.keep_outside_box(key, height, width)
    return inside.sum(axis=1), inside.sum(axis=0)

  keys = jax.random.split(jax.random.key(0), _BOX_DRAWS)
  counts = jax.jit(lambda keys: jax.lax.map(count, keys))(keys)
  in_rows, in_columns = map(np.asarray, counts)
  heights, widths = (in_rows > 0).sum(axis=1), (in_columns > 0).sum(axis=1)
  np.testing.assert_array_equal(in_rows.sum(axis=1), heights * widths)
  tops, lefts = in_rows.argmax(axis=1), in_columns.argmax(axis=1)
  return tops, lefts, heights, widths


@golden.every_file("augmentation")
def test_boxes(path):
  arrays = golden.load(path)
  for case, recorded in _cases(arrays, r"box_mask_\d+x\d+").items():
    height, width = map(int, re.findall(r"\d+", case))
    tops, lefts, box_heights, box_widths = _draw_boxes(height, width)
    drawn = {
      "area_fraction_of_zero_box": box_heights * box_widths / (height * width),
      "box_width_over_W": box_widths / width,
      "box_height_over_H": box_heights / height,
      "x_start_over_free": lefts / np.maximum(width - box_widths, 1),
      "y_start_over_free": tops / np.maximum(height - box_heights, 1),
    }
    possible_widths = np.arange(width // 2 + 1, width)
    possible_heights = np.round(height * width / 2 / possible_widths)
    extremes = {
      "box_width_minmax": (box_widths, possible_widths),
      "box_height_minmax": (box_heights, possible_heights),
    }
    assert recorded.keys() == drawn.keys() | extremes.keys()
    for field, values in drawn.items():
      expected = dict(
        zip(arrays["stats_columns"], recorded[field], strict=True)
      )
      chance.assert_same_distribution(values, expected, _RECORDED_MASKS)
    for field, (values, possible) in extremes.items():
      assert np.isin([*values, *recorded[field]], possible).all(), field
      # The last few of some hundred lengths may be missing among the draws.
      np.testing.assert_allclose(
        [values.min(), values.max()],
        recorded[field],
        rtol=0,
        atol=np.ceil(0.04 * np.ptp(possible)),
        err_msg=field,
      )


@golden.every_file("augmentation")
def test_classes_that_classmix_keeps(path):
  arrays = golden.load(path)
  counts = [re.fullmatch(r"classmix_n(\d+)_freq", name) for name in arrays]
  counts = [int(match[1]) for match in counts if match]
  assert counts
  keys = jax.random.split(jax.random.key(1), _DRAWS)
  for count in counts:
    labels = jnp.arange(count)[None]
    kept = jax.jit(
      jax.vmap(
        lambda key, labels=labels, count=count: mixing.keep_half_the_classes(
          key, labels, count
        )[0]
      )
    )(keys)
    selected = np.sum(kept, axis=1)
    expected = arrays[f"classmix_n{count}_selected"]
    np.testing.assert_array_equal([selected.min(), selected.max()], expected)
    shares = arrays[f"classmix_n{count}_freq"]
    for share, recorded in zip(np.mean(kept, axis=0), shares, strict=True):
      chance.assert_same_share(share, recorded, _DRAWS, _RECORDED_MASKS)


@golden.every_file("augmentation")
def test_mixes(path):
  """Exact, given the recorded masks."""
  arrays = golden.load(path)
  mixes = {
    "cutout": mixing.cut,
    "cutmix": mixing.mix,
    "classmix": mixing.mix,
  }
  modes = [mode for mode in mixes if f"mix/{mode}/masks" in arrays]
  assert modes
  inputs = (
    golden.channels_last(arrays["mix/data"]),
    arrays["mix/target"],
    arrays["mix/conf"],
  )
  for mode in modes:
    keep = arrays[f"mix/{mode}/masks"] > 0
    images, labels, confidence = mixes[mode](keep, *map(jnp.asarray, inputs))
    outputs = {
      "data": np.moveaxis(np.asarray(images), -1, 1),
      "target": labels,
      "conf": confidence,
    }
    for field, actual in outputs.items():
      expected = arrays[f"mix/{mode}/{field}"]
      np.testing.assert_array_equal(actual, expected, err_msg=mode)


@golden.every_file("augmentation")
def test_recorded_boxes_can_be_drawn_here(path):
  arrays = golden.load(path)
  for mode in ("cutout", "cutmix"):
    for mask in arrays.get(f"mix/{mode}/masks", ()):
      drawn = set(zip(*_draw_boxes(*mask.shape)[2:], strict=True))
      rows, columns = np.nonzero(mask == 0)
      height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
      assert rows.size == height * width
      assert (height, width) in drawn


@golden.every_file("augmentation")
def test_recorded_class_masks_keep_as_many_classes_as_here(path):
  """The published code takes 255 for a class like the others.

  Here it is none. That makes no difference in training, where pseudo-labels
  are mixed before any is ignored.
  """
  arrays = golden.load(path)
  masks = arrays.get("mix/classmix/masks", ())
  for mask, labels in zip(masks, arrays["mix/target"], strict=False):
    num_classes = int(labels[labels != IGNORE_LABEL].max()) + 2
    labels = np.where(labels == IGNORE_LABEL, num_classes - 1, labels)
    kept = np.unique(labels[mask > 0])
    np.testing.assert_array_equal(mask > 0, np.isin(labels, kept))
    drawn = mixing.keep_half_the_classes(jax.random.key(0), labels, num_classes)
    assert kept.size == np.unique(labels[np.asarray(drawn)]).size


@golden.once_per_input
def _draw_windows(height, width, low, high):
  """Heights of the resized image, [draws], and whether it is mirrored."""
  draws = np.random.default_rng(2).random((_DRAWS, preprocess.NUM_DRAWS))
  options = dict(
    crop_size=(height, width), scale_range=(low, high), flip_prob=0.5
  )
  windows = [
    preprocess.random_window((height, width), numbers, **options)
    for numbers in draws
  ]
  heights = np.array([window.scaled_hw[0] for window in windows])
  return heights, np.array([window.flip for window in windows])


@golden.every_file("augmentation")
def test_scales(path):
  arrays = golden.load(path)
  edges = arrays["rand_resize/hist_edges"]
  height, width = arrays["rand_resize/input_hw"].tolist()
  heights, _ = _draw_windows(height, width, float(edges[0]), float(edges[-1]))
  scales = heights / height
  recorded = arrays["rand_resize/new_height_over_h"]
  expected = dict(zip(arrays["stats_columns"], recorded, strict=True))
  chance.assert_same_distribution(scales, expected, _RECORDED_SCALES)
  counts, _ = np.histogram(scales, edges)
  shares = [*(counts / _DRAWS), np.mean(scales < 1)]
  recorded = [
    *arrays["rand_resize/hist"],
    arrays["rand_resize/fraction_below_1"],
  ]
  for actual, expected in zip(shares, recorded, strict=True):
    chance.assert_same_share(actual, expected, _DRAWS, _RECORDED_SCALES)


@golden.every_file("augmentation")
def test_flips(path):
  arrays = golden.load(path)
  _, flips = _draw_windows(64, 64, 0.5, 2.0)
  # The number of draws is not recorded; 250 are the fewest that suit 0.508.
  recorded = float(arrays["hflip_frequency"])
  chance.assert_same_share(flips.mean(), recorded, _DRAWS, 250)


def _image_and_label(case, suffix=""):
  """float [H, W, 3] and uint8 [H, W, 1]."""
  return (
    golden.channels_last(case[f"{kind}{suffix}"])[0]
    for kind in ("image", "label")
  )


@golden.every_file("augmentation")
def test_resizing_of_images_and_masks(path):
  """Masks exact; images within 1.4 levels of 255.

  Images are uint8 here, before and after, and float there: half a level is
  lost when the input is rounded, half when the output is, and up to 0.4 by
  weights of 11 bits.
  """
  for case in _cases(golden.load(path), r"resize_fixed\d+").values():
    image, label = _image_and_label(case)
    expected, expected_label = _image_and_label(case, "_out")
    low, level = image.min(), np.ptp(image) / 255
    scaled_hw = tuple(int(n * case["scale"]) for n in image.shape[:2])
    window = preprocess.Window(scaled_hw, (0, 0), scaled_hw, False)
    levels = np.round((image - low) / level).astype(np.uint8)
    actual = preprocess.resize_image(levels, window)
    np.testing.assert_allclose(
      actual, (expected - low) / level, rtol=0, atol=1.4
    )
    actual = preprocess.resize_label(label[..., 0], window)
    np.testing.assert_array_equal(actual, expected_label[..., 0])


@golden.every_file("augmentation")
def test_crops(path):
  """Exact, given the recorded offsets.

  The published code pads labels with 0, as does the setting data.pad_label=0;
  the paper's recipe here pads with 255.
  """
  for case in _cases(golden.load(path), r"crop\d+").values():
    size = tuple(case["size"].tolist())
    is_center = str(case["type"]) == "center"
    inputs = _image_and_label(case)
    outputs = _image_and_label(case, "_out")
    for pixels, expected in zip(inputs, outputs, strict=True):
      if is_center:
        seen = crop.center_crop(pixels, size)
      else:
        y, x = case["randint_low_high_value_h_then_w"][:, 2]
        seen = pixels[y : y + size[0], x : x + size[1]]
      color = (0,) * pixels.shape[-1]
      actual = preprocess.pad_to_crop(seen, size, color)
      np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@golden.every_file("augmentation")
def test_ends_of_crop_offsets(path):
  """Exact; both ends can be drawn."""
  cases = _cases(golden.load(path), r"crop\d+").values()
  cases = [case for case in cases if str(case["type"]) != "center"]
  assert cases
  for case in cases:
    low, high, _ = case["randint_low_high_value_h_then_w"].T
    for draw, expected in ((0.0, low), (1 - 1e-9, high)):
      window = preprocess.random_window(
        case["image"].shape[2:],
        [0, 0, draw, draw, 0],
        crop_size=tuple(case["size"].tolist()),
        scale_range=(1.0, 1.0),
        flip_prob=0.5,
      )
      np.testing.assert_array_equal(window.offset, expected)


@golden.every_file("augmentation")
def test_normalization(path):
  """Within 1e-6; labels are left as they are."""
  arrays = golden.load(path)
  actual = normalize.normalize(jnp.asarray(arrays["normalize/rgb"]))
  expected = golden.channels_last(arrays["normalize/image_out"])[0]
  np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
  label = arrays["normalize/label_out"][0, 0]
  np.testing.assert_array_equal(label, arrays["normalize/label"])
