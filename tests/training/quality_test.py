"""Shares of pixels by hand; of whole steps see tests/methods/review_test.py."""

import jax.numpy as jnp
import numpy as np

from u2pl_jax.methods import method
from u2pl_jax.training import quality


def divide(shares):
  return {name: share.divide() for name, share in shares.items()}


def test_shares_by_hand():
  truth = jnp.array([[[0, 0, 0, 1], [1, 2, 255, 255]]])
  labels = jnp.array([[[0, 1, 255, 1], [255, 0, 0, 255]]])
  found = divide(quality.measure(method.Review(((labels, truth),)), 4))
  # Of 6 known pixels 4 are taught: two are right.
  assert found["taught/share"] == 4 / 6
  assert found["taught/accuracy"] == 2 / 4
  np.testing.assert_array_equal(
    found["taught_share"], [2 / 3, 1 / 2, 1, np.nan]
  )
  np.testing.assert_array_equal(
    found["taught_accuracy"], [1 / 2, 1 / 2, np.nan, np.nan]
  )
  assert "negative_purity" not in found


def test_views_count_together():
  view = jnp.array([[[0, 1]]]), jnp.array([[[0, 0]]])
  other = jnp.array([[[255, 255]]]), jnp.array([[[0, 0]]])
  found = divide(quality.measure(method.Review((view, other)), 2))
  assert found["taught/share"] == 1 / 2
  assert found["taught/accuracy"] == 1 / 2


def test_negatives_are_pure_where_the_truth_is_another_class():
  truth = jnp.array([[[0, 0, 1, 255]]])
  offered = jnp.array([[[[1, 0], [1, 0], [1, 0], [1, 0]]]], bool)
  review = method.Review(((truth, truth),), (offered, truth))
  found = divide(quality.measure(review, 2))
  np.testing.assert_array_equal(found["negative_purity"], [1 / 3, np.nan])


def test_a_method_does_not_see_the_truth():
  batch = {name: np.zeros(2, np.uint8) for name in ("image_u", "label_l")}
  seen, truth = quality.set_aside(batch | {"label_u": np.uint8([1, 255])})
  assert seen.keys() == batch.keys()
  assert list(truth) == ["label_u"] and truth["label_u"].dtype == np.int32
  assert quality.set_aside(batch)[1] == {}
