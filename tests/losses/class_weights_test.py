"""Weights of classes: given, balanced, and those that cannot be."""

import numpy as np
import pytest

from u2pl_jax.losses import class_weights, pixelwise

NAMES = ("sky", "road", "pole")


def test_none_and_given_ones():
  assert class_weights.choose((), NAMES, None) is None
  weights = class_weights.choose((1, 2.5, 0), NAMES, None)
  np.testing.assert_array_equal(weights, np.float32([1, 2.5, 0]))


def test_balanced_classes_count_alike():
  counts = np.array([60, 30, 10])
  weights = class_weights.choose(("balanced",), NAMES, lambda: counts)
  np.testing.assert_allclose(weights * counts, [100 / 3] * 3, rtol=1e-6)


def test_a_class_that_no_labeled_image_shows_has_no_weight():
  with pytest.raises(ValueError) as error:
    class_weights.choose(("balanced",), NAMES, lambda: np.array([7, 0, 0]))
  assert str(error.value) == (
    "loss.class_weights=balanced: no labeled image of this split shows road,"
    " pole; give a number for each class, or label one"
  )
  with pytest.raises(ValueError, match="there are no labeled images to count"):
    class_weights.choose(("balanced",), NAMES, None)


def test_as_many_as_classes_are_needed():
  with pytest.raises(ValueError) as error:
    class_weights.choose((1.0, 2.0), NAMES, None)
  assert str(error.value) == (
    "loss.class_weights holds 2 numbers, but there are 3 classes: sky, road,"
    " pole"
  )


@pytest.mark.parametrize(
  "given, message",
  [
    ((1, -1), r"loss.class_weights=\(1, -1\): must be >= 0"),
    ((0, 0), r"loss.class_weights=\(0, 0\): one must be above 0"),
    (("even",), "must be a number for each class, or balanced"),
    (("balanced", 1), "must be a number for each class, or balanced"),
  ],
)
def test_what_can_be_no_weights_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    pixelwise.LossOptions(class_weights=given)
