"""Pooled features: of length 1, and the same however images are batched."""

import cv2
import jax
import numpy as np
import pytest

from tests import tiny_network
from tests.tools import photos
from u2pl_jax.data import image_files
from u2pl_jax.predict import embedding, photographs


@pytest.fixture(scope="module")
def network():
  return tiny_network.make_trained()


def by_hand(network, image):
  """The mean of the last feature of the image at the size of the window."""
  height, width = network.window
  small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
  model = network.model
  encode = jax.jit(
    lambda images: model.apply(
      network.variables, images, train=False, method="encode"
    )[-1]
  )
  means = np.asarray(encode(model.normalize(small[None])))[0].mean((0, 1))
  return means / np.linalg.norm(means)


def test_features_are_pooled_over_the_whole_image(network, tmp_path):
  photos.save(tmp_path / "in", 3, (50, 45))
  (tmp_path / "in/broken.png").write_text("no image\n")
  images = photographs.find(str(tmp_path / "in"))
  failures = list(embedding.run(network, images, tmp_path / "out"))
  assert [failure is None for failure in failures] == [True] * 3 + [False]
  assert isinstance(failures[3], image_files.UnreadableError)
  assert embedding.find(tmp_path / "out", "broken") is None
  assert embedding.find(tmp_path / "out", "0")
  found = embedding.read(tmp_path / "out", "012")
  assert found.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
  expected = by_hand(network, photos.make_image(1, (50, 45)))
  np.testing.assert_allclose(found[1], expected, atol=1e-5)


def test_neighbors_in_a_batch_do_not_matter(network):
  images = [photos.make_image(seed, (50, 45)) for seed in range(3)]
  whole = list(embedding.compute(network, images, lambda image: image))
  (alone,) = embedding.compute(network, images[1:2], lambda image: image)
  np.testing.assert_array_equal(alone, whole[1])
