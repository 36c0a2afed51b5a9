"""Components of a predicted class, the box around one, and the paste."""

import functools
import json

import jax
import numpy as np

from tests.parity import golden
from u2pl_jax.methods.u2pl_ael import boxes
from u2pl_jax.ops import boxes as box_ops
from u2pl_jax.ops import components, percentile

_DRAWS = 400


@functools.cache
def _functions(min_share):
  """Components and boxes of a class, compiled."""
  large = jax.jit(
    functools.partial(boxes.large_components, min_share=min_share)
  )
  choose = jax.jit(
    jax.vmap(
      functools.partial(boxes.choose_box, min_share=min_share),
      in_axes=(0, None, None),
    )
  )
  return large, choose


@golden.once_per_input
def _find(min_share, labels, class_id):
  """Areas, boxes and which are large, in raster order; and drawn boxes."""
  large, choose = _functions(float(min_share))
  found, is_large = map(np.asarray, large(labels, class_id))
  first = np.unique(found[found < labels.size])
  areas = np.asarray(components.component_areas(found))[first]
  around = [np.asarray(components.bounding_box(found == i)) for i in first]
  keys = jax.random.split(jax.random.key(1), _DRAWS)
  drawn = np.asarray(choose(keys, labels, class_id))
  around = np.array(around, int).reshape(-1, 4)
  return areas, around, is_large[first], drawn


def _cases(arrays):
  """(recorded arrays of a case, ours) for each predicted map and class."""
  config = json.loads(str(arrays["config_json"]))
  assert config["cases"]
  for index, class_id in config["cases"]:
    name = f"pred{index}_class{class_id}/"
    recorded = {
      key.removeprefix(name): value
      for key, value in arrays.items()
      if key.startswith(name)
    }
    labels = arrays["pred"][index].astype(np.int32)
    yield recorded, _find(config["component_area"], labels, class_id)


@golden.every_file("ael_cutmix")
def test_components(path):
  for recorded, (areas, around, is_large, _) in _cases(golden.load(path)):
    np.testing.assert_array_equal(areas, recorded["component_area"])
    np.testing.assert_array_equal(around, recorded["component_box"])
    np.testing.assert_array_equal(is_large, recorded["qualifies"])
    assert recorded["random_box"] == (not is_large.any())


@golden.every_file("ael_cutmix")
def test_component_maps(path):
  arrays = golden.load(path)
  label = jax.jit(components.label_components)
  prefix = "component_map_pred"
  (name,) = [name for name in arrays if name.startswith(prefix)]
  labels = arrays["pred"][int(name.removeprefix(prefix))].astype(np.int32)
  for class_id, recorded in enumerate(arrays[name]):
    found = np.asarray(label(labels == class_id))
    np.testing.assert_array_equal(found < labels.size, recorded > 0)
    pairs = np.unique(
      np.stack([found[recorded > 0], recorded[recorded > 0]]).T, axis=0
    )
    # One number here for each number there.
    assert len(pairs) == len(np.unique(pairs[:, 0])) == recorded.max()


@golden.every_file("ael_cutmix")
def test_boxes_are_drawn_as_often(path):
  """Within four standard errors of the difference."""
  for recorded, (_, around, is_large, drawn) in _cases(golden.load(path)):
    if not is_large.any():
      assert len(np.unique(drawn, axis=0)) > 1
      continue
    shares = np.all(drawn[:, None] == around[None], axis=-1).mean(0)
    chance = is_large / is_large.sum()
    error = np.sqrt(2 * chance * (1 - chance) / _DRAWS)
    for actual in (shares, recorded["frequency_400"]):
      assert np.all(abs(actual - chance) <= 4 * error + 1e-12)
    np.testing.assert_allclose(shares.sum(), 1)


@golden.every_file("ael_cutmix")
def test_boxes_of_half_the_area(path):
  arrays = golden.load(path)
  side = json.loads(str(arrays["config_json"]))["side"]
  for uniform, expected in zip(
    arrays["half_box/uniform_height_y_x"],
    arrays["half_box/y0x0y1x1"],
    strict=True,
  ):
    actual = boxes.random_box(uniform.astype(np.float32), (side, side))
    np.testing.assert_array_equal(actual, expected)


@golden.every_file("ael_cutmix")
def test_paste(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  pair = golden.channels_last(arrays["paste/image_q"])
  inside = np.asarray(
    box_ops.inside(arrays["paste/box"][None], pair.shape[1:3])
  )
  mixed = box_ops.paste(inside, pair[:1], pair[1:])
  expected = golden.channels_last(arrays["paste/mixed_image_q"][None])
  np.testing.assert_array_equal(mixed, expected)
  logits = golden.channels_last(
    np.float32(arrays["paste/logits_q"]) / config["logit_scale"]
  )
  mixed = box_ops.paste(inside[:, ::2, ::2], logits[:1], logits[1:])
  np.testing.assert_allclose(
    percentile.compute_entropy(mixed)[0],
    arrays["paste/entropy_every2"],
    rtol=0,
    atol=1e-5,
  )
  expected = arrays["paste/argmax_every2"]
  np.testing.assert_array_equal(np.argmax(mixed[0], axis=-1), expected)
