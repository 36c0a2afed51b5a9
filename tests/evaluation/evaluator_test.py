import jax
import numpy as np
import pytest
from flax import linen as nn

from tests import tiny
from u2pl_jax.evaluation import evaluator, outputs, protocol
from u2pl_jax.ops import normalize
from u2pl_jax.runtime import collectives, sharding

WHOLE = protocol.Protocol("whole", (8, 8))


class BrightnessModel(nn.Module):
  """Class 1 where the image is brighter than its mean color, else 0."""

  multiple = 1

  @nn.nowrap
  def normalize(self, images):
    return normalize.normalize(images)

  @nn.compact
  def __call__(self, images, *, train, dropout):
    brightness = images.mean(-1, keepdims=True)
    # A stride-4 map would blur the oracle: logits have the images' size.
    return {"logits": jax.numpy.concatenate([-brightness, brightness], -1)}


def make_batches(num_images, batch_size, rng, side=8):
  images = rng.integers(0, 256, (num_images, side, side, 3), np.uint8)
  labels = rng.choice(np.uint8([0, 1, 255]), (num_images, side, side))
  batches = []
  for start in range(0, num_images, batch_size):
    index = np.arange(start, start + batch_size)
    mask = index < num_images
    index = np.minimum(index, num_images - 1)
    batches.append(
      {"image": images[index], "label": labels[index], "mask": mask}
    )
  return images, labels, batches


def run(batches, devices):
  mesh = sharding.create_mesh(devices=jax.devices()[:devices])
  predict = outputs.make_predict(BrightnessModel(), WHOLE, ("labels",))
  count = evaluator.make_count_pixels(predict, 2, mesh)
  return evaluator.evaluate(count, {}, batches, mesh)


@pytest.mark.parametrize("batch_size, devices", [(1, 1), (4, 2), (8, 8)])
def test_counts_each_image_once_whatever_the_batches(batch_size, devices):
  images, labels, batches = make_batches(
    5, batch_size, np.random.default_rng(0)
  )
  bright = np.asarray(normalize.normalize(images)).mean(-1) > 0
  valid = labels != 255
  expected = 100 * (bright[valid] == labels[valid]).mean()
  assert run(batches, devices).pixel_accuracy == pytest.approx(expected)


def test_padding_is_not_counted():
  _, _, batches = make_batches(3, 2, np.random.default_rng(1))
  batches[-1]["mask"][:] = False
  assert run(batches, 1).iou == pytest.approx(run(batches[:1], 1).iou)


def test_empty_set_is_an_error():
  with pytest.raises(ValueError, match="validation set is empty"):
    run([], 1)


@pytest.mark.parametrize(
  "kind, scales", [("whole", (1.0,)), ("slide", (0.75, 1.0))]
)
def test_devices_do_not_change_the_count_by_one_pixel(kind, scales):
  model = tiny.make_model()
  images, _, batches = make_batches(16, 8, np.random.default_rng(2), side=33)
  variables = model.init(
    jax.random.key(0),
    normalize.normalize(images[:1]),
    train=False,
    dropout=False,
  )
  seen = model.apply(
    variables, normalize.normalize(images), train=False, dropout=False
  )
  # So that an untrained network does not always prefer the same class.
  output = variables["params"]["decoder"]["classifier"]["output"]
  output["bias"] -= seen["logits"].mean((0, 1, 2))
  predict = outputs.make_predict(
    model, protocol.Protocol(kind, (24, 24), scales, flip=True), ("labels",)
  )

  def count(devices):
    mesh = sharding.create_mesh(devices=jax.devices()[:devices])
    count_pixels = evaluator.make_count_pixels(predict, 5, mesh)
    return [
      np.asarray(count_pixels(variables, sharding.to_global(batch, mesh))[0])
      for batch in batches
    ]

  on_one = count(1)
  assert np.count_nonzero(np.sum(on_one, axis=(0, 1))) == 5
  for devices in (2, 8):
    np.testing.assert_array_equal(count(devices), on_one)


def test_batches_come_with_their_predictions_one_behind():
  images, _, batches = make_batches(5, 2, np.random.default_rng(3))
  mesh = sharding.create_mesh(devices=jax.devices()[:2])
  predict = outputs.make_predict(BrightnessModel(), WHOLE, ("labels",))
  count = evaluator.make_count_pixels(predict, 2, mesh)
  seen = []
  evaluator.evaluate(
    count,
    {},
    batches,
    mesh,
    lambda batch, predictions: seen.append((batch, np.asarray(predictions))),
  )
  assert all(a is b for (a, _), b in zip(seen, batches, strict=True))
  predictions = np.concatenate([labels for _, labels in seen])[:5]
  bright = np.asarray(normalize.normalize(images)).mean(-1) > 0
  np.testing.assert_array_equal(predictions, bright)


@pytest.mark.parametrize("kind", ["whole", "slide"])
def test_each_device_sees_its_own_images_only(kind):
  model = tiny.make_model()
  mesh = sharding.create_mesh(devices=jax.devices())
  settings = protocol.Protocol(kind, (17, 17), flip=True)
  predict = outputs.make_predict(model, settings, ("labels",))
  split = sharding.split_batch(mesh)
  batch = {
    "image": jax.ShapeDtypeStruct((8, 33, 33, 3), np.uint8, sharding=split),
    "label": jax.ShapeDtypeStruct((8, 33, 33), np.uint8, sharding=split),
    "mask": jax.ShapeDtypeStruct((8,), bool, sharding=split),
  }
  variables = jax.eval_shape(
    lambda: model.init(
      jax.random.key(0), np.zeros((1, 33, 33, 3)), train=False, dropout=False
    )
  )
  count = evaluator.make_count_pixels(predict, 5, mesh)
  program = count.lower(variables, batch).compile().as_text()
  # Nothing is sent but counts.
  for collective in collectives.parse(program):
    assert collective.kind == "all-reduce"
    assert all(array.nbytes == 5 * 5 * 4 for array in collective.arrays)
