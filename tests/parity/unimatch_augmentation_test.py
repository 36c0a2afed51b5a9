"""Views and CutMix boxes as UniMatch makes them, from its draws.

Pixels are those of Pillow: the weak view exactly, whose resizing is Pillow's
here too, and strong views within the bounds that the recordings state for
colors computed level by level.
"""

import jax
import numpy as np

from tests.parity import golden, unimatch_step
from u2pl_jax.data import crops, options, preprocess
from u2pl_jax.methods.consistency import views
from u2pl_jax.ops import boxes, color, normalize

_DRAWS = 12_000
_BLENDS = {
  "brightness": color.BRIGHTNESS,
  "contrast": color.CONTRAST,
  "saturation": color.SATURATION,
}
_SLOW = golden.SLOW[0] if golden.SLOW else lambda test: test
_change, _adjust, _shift_hue, _blur = map(
  jax.jit, (color.change, color.adjust, color.shift_hue, color.blur)
)
_draw_boxes = jax.jit(views.draw_boxes, static_argnums=(1, 2, 3, 4))


def _items(arrays):
  """The arrays of each item by their names within it."""
  found = {}
  for name, array in arrays.items():
    item, _, field = name.partition("/")
    if field and item.removeprefix("item").isdigit():
      found.setdefault(item, {})[field] = array
  assert found
  return list(found.values())


def _unlabeled(arrays):
  items = [item for item in _items(arrays) if item["unlabeled"]]
  assert items
  return items


def _window(source_hw, item, side):
  """What the recorded draws show of a source."""
  scaled = preprocess.long_side_size(source_hw, int(item["long_side"]))
  x, y = item["crop_xy"].tolist()
  shown = tuple(min(length, side) for length in scaled)
  return preprocess.Window(scaled, (y, x), shown, bool(item["flip"]))


@golden.every_file("unimatch_augmentation")
def test_weak_views(path):
  """Images, masks and padding, exact."""
  arrays = golden.load(path)
  side = unimatch_step.config_of(arrays)["side"]
  settings = options.DataOptions(
    crop_size=(side, side), resizing="long_side", padding="corner"
  )
  for item in _items(arrays):
    source = {
      name: arrays[f"source{int(item['source'])}/{name}"]
      for name in ("rgb", "label")
    }
    window = _window(source["label"].shape, item, side)
    if item["unlabeled"]:
      crop = crops.Crop("u", settings, marks_padding=True)
      image, padding = crop.show(window, source["rgb"])
      np.testing.assert_array_equal(padding * 255, item["ignore"])
    else:
      crop = crops.Crop("l", settings, has_label=True)
      image, label = crop.show(window, source["rgb"], source["label"])
      np.testing.assert_array_equal(label, item["label"])
    expected = item["image_w" if item["unlabeled"] else "image"]
    np.testing.assert_array_equal(np.moveaxis(image, -1, 0), expected)
    if "normalized" in item:
      np.testing.assert_allclose(
        np.moveaxis(normalize.normalize(image), -1, 0),
        item["normalized"],
        rtol=0,
        atol=1e-5,
      )


def _color_draws(item, name):
  order = item[f"{name}/jitter_order"]
  is_jittered = order.size > 0
  factors = item[f"{name}/brightness_contrast_saturation_hue"]
  if not is_jittered:
    order, factors = np.arange(4), np.ones(4)
  return color.Draws(
    is_jittered=np.bool_(is_jittered),
    order=order.astype(np.int32),
    factors=factors[:3].astype(np.float32),
    hue=np.float32(factors[3] if is_jittered else 0),
    is_gray=item[f"{name}/gray"],
    sigma=item[f"{name}/blur_sigma"].astype(np.float32),
  )


@golden.every_file("unimatch_augmentation")
def test_strong_views(path):
  """Mean differences up to 0.03 and single ones up to 10, of 255."""
  items = _unlabeled(golden.load(path))
  for name in ("s1", "s2"):
    draws = jax.tree.map(
      lambda *each: np.stack(each),
      *(_color_draws(item, name) for item in items),
    )
    weak = np.stack([np.moveaxis(item["image_w"], 0, -1) for item in items])
    strong = _change(weak, draws)
    recorded = np.stack([item[f"image_{name}"] for item in items])
    difference = np.abs(strong - golden.channels_last(recorded).astype("f4"))
    assert np.all(difference.mean((1, 2, 3)) <= 0.03), difference.mean(
      (1, 2, 3)
    )
    assert difference.max() <= 10


@golden.every_file("unimatch_augmentation")
def test_single_operations(path):
  """Gray and the three blends exact, the blur within 1, the hue within 4."""
  arrays = golden.load(path)
  image = arrays["op/input"].astype(np.float32)
  operations = [name for name in arrays if name.startswith("op/")]
  assert len(operations) > 1
  for operation in operations:
    kind, _, value = operation.removeprefix("op/").partition("_")
    if kind == "input":
      continue
    value = np.float32(value or 0)
    if kind in _BLENDS:
      actual, bound = _adjust(image, _BLENDS[kind], value), 0
    elif kind == "hue":
      actual, bound = _shift_hue(image, value), 4
    elif kind == "blur":
      actual, bound = _blur(image, value), 1
    else:
      assert kind == "gray"
      actual, bound = np.repeat(color.luma(image), 3, axis=-1), 0
    difference = np.abs(actual - arrays[operation].astype(np.float32))
    assert difference.max() <= bound, operation
    if kind == "hue":
      assert difference.mean() <= 0.01, operation


@golden.every_file("unimatch_augmentation")
def test_boxes_from_draws(path):
  """Exact."""
  arrays = golden.load(path)
  side = unimatch_step.config_of(arrays)["side"]
  for item in _unlabeled(arrays):
    for view in (1, 2):
      box = np.zeros(4, np.int32)
      if f"s{view}/box_area" in item:
        ratio, left, top = item[f"s{view}/box_tries_r_x_y"][-1]
        area = item[f"s{view}/box_area"].astype(np.float32)
        height, width = boxes.shape(area, np.float32(ratio), (side, side))
        box = np.array([top, left, top + height, left + width])
      np.testing.assert_array_equal(box, item[f"box{view}_y0x0y1x1"])


def _distance(first, second):
  """Kolmogorov's and Smirnov's, of two samples."""
  everything = np.sort(np.concatenate([first, second]))
  shares = [
    np.searchsorted(np.sort(each), everything, side="right") / each.size
    for each in (first, second)
  ]
  return np.abs(shares[0] - shares[1]).max()


def _describe(found):
  top, left, below, right = found.astype(np.int64).T
  height, width = below - top, right - left
  return top, left, height, width, height * width


@_SLOW
@golden.every_file("unimatch_augmentation")
def test_distribution_of_boxes(path):
  """Within 0.05 in place, size and area; half of the images have one."""
  arrays = golden.load(path)
  settings = views.ViewOptions()
  sides = [
    int(name.removeprefix("boxes/side").partition("_")[0])
    for name in arrays
    if name.startswith("boxes/") and name.endswith("_draws")
  ]
  assert sides
  for side in sides:
    (drawn,) = _draw_boxes(
      jax.random.key(side), _DRAWS, (side, side), 1, settings
    )
    drawn = np.asarray(drawn)
    has_box = drawn.any(axis=1)
    recorded = arrays[f"boxes/side{side}_y0x0y1x1"]
    share = len(recorded) / int(arrays[f"boxes/side{side}_draws"])
    np.testing.assert_allclose([has_box.mean(), share], 0.5, atol=0.03)
    for ours, theirs in zip(
      _describe(drawn[has_box]), _describe(recorded), strict=True
    ):
      assert _distance(ours, theirs) < 0.05
