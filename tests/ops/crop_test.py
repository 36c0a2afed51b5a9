"""The center of an image, and the color around it."""

import numpy as np
import pytest

from u2pl_jax.data import preprocess
from u2pl_jax.ops import crop, normalize


@pytest.mark.parametrize("size", [(5, 4), (6, 7), (9, 8), (8, 9)])
def test_the_center_of_a_padded_image_is_the_image(size):
  image = np.arange(9 * 9 * 3, dtype=np.uint8).reshape(9, 9, 3)
  small = image[: size[0], : size[1]]
  padded = preprocess.pad_to_crop(small, (9, 9), normalize.MEAN_COLOR)
  np.testing.assert_array_equal(crop.center_crop(padded, size), small)


def test_an_odd_pixel_lies_on_the_far_side():
  image = np.arange(5)[:, None] * np.ones(4, int)
  np.testing.assert_array_equal(crop.center_crop(image, (2, 4))[:, 0], [1, 2])


def test_a_short_side_is_kept_whole():
  image = np.zeros((3, 9, 3), np.uint8)
  assert crop.center_crop(image, (5, 4)).shape == (3, 4, 3)


def test_the_center_is_a_view():
  image = np.zeros((4, 4), np.uint8)
  crop.center_crop(image, (2, 2))[:] = 1
  assert image.sum() == 4


def test_the_padding_is_the_mean_color():
  assert normalize.MEAN_COLOR == (124, 116, 104)
  color = np.uint8([normalize.MEAN_COLOR])
  assert np.abs(normalize.normalize(color)).max() < 0.01
