import jax
import numpy as np
import pytest
from flax import linen as nn

from u2pl_jax import augment, evaluator, sharding


class BrightnessModel(nn.Module):
  """Class 1 where the image is brighter than its mean colour, else 0."""

  @nn.compact
  def __call__(self, images, *, train, dropout):
    brightness = images.mean(-1, keepdims=True)
    # A stride-4 map would blur the oracle: logits have the images' size.
    return {"logits": jax.numpy.concatenate([-brightness, brightness], -1)}


def make_batches(num_images, batch_size, rng):
  images = rng.integers(0, 256, (num_images, 8, 8, 3), np.uint8)
  labels = rng.choice(np.uint8([0, 1, 255]), (num_images, 8, 8))
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
  predict = evaluator.make_predict(BrightnessModel())
  count = evaluator.make_count_pixels(predict, 2, mesh)
  return evaluator.evaluate(count, {}, batches, mesh)


@pytest.mark.parametrize("batch_size, devices", [(1, 1), (4, 2), (8, 8)])
def test_counts_each_image_once_whatever_the_batches(batch_size, devices):
  images, labels, batches = make_batches(
    5, batch_size, np.random.default_rng(0)
  )
  bright = np.asarray(augment.normalize(images)).mean(-1) > 0
  valid = labels != 255
  expected = 100 * (bright[valid] == labels[valid]).mean()
  assert run(batches, devices).pixel_accuracy == pytest.approx(expected)


def test_padding_is_not_counted():
  _, _, batches = make_batches(3, 2, np.random.default_rng(1))
  batches[-1]["mask"][:] = False
  assert run(batches, 1).iou == pytest.approx(run(batches[:1], 1).iou)


def test_entropy_is_that_of_the_prediction():
  predict = evaluator.make_predict(BrightnessModel())
  labels, entropy = predict({}, np.full((1, 2, 2, 3), 255, np.uint8))
  assert (labels == 1).all()
  assert (entropy > 0).all() and (entropy < np.log(2)).all()


def test_empty_set_is_an_error():
  with pytest.raises(ValueError, match="validation set is empty"):
    run([], 1)
