"""The order of images, worked out by hand, and against a slow formula."""

import numpy as np
import pytest

from u2pl_jax.predict import ranking

ROOT2 = np.sqrt(2)
# Directions in the plane: east, north, west, and north again.
FEATURES = np.array([[1.0, 0], [0, 1], [-1, 0], [0, 1]])
EAST = FEATURES[:1]


def test_unsure_and_unlike_images_come_first():
  # Of the image that is labeled, distances are 0, root 2, 2, root 2, so that
  # the scores are 0, 0.71, 0.8 and 0.85. After image 3, image 2 is root 2
  # away, for 0.57, and image 1, which is the same as 3, not at all.
  found = ranking.rank(np.array([0.9, 0.5, 0.4, 0.6]), FEATURES, EAST)
  assert found.order.tolist() == [3, 2, 0, 1]
  np.testing.assert_allclose(found.unlike, [0, 0, ROOT2, ROOT2], atol=1e-7)


def test_entropy_alone_ignores_what_is_alike():
  found = ranking.rank(
    np.array([0.9, 0.5, 0.4, 0.6]), FEATURES, EAST, kind="entropy"
  )
  assert found.order.tolist() == [0, 3, 1, 2]


def test_diversity_alone_is_the_greedy_k_center():
  found = ranking.rank(
    np.array([0.9, 0.5, 0.4, 0.6]), FEATURES, EAST, kind="diversity"
  )
  assert found.order.tolist() == [2, 1, 0, 3]
  np.testing.assert_allclose(found.unlike, [0, ROOT2, 2, 0], atol=1e-7)


def test_the_unsurest_comes_first_where_nothing_is_labeled():
  found = ranking.rank(np.array([0.1, 0.3, 0.2, 0.3]), FEATURES, EAST[:0])
  assert found.order[0] == 1 and found.unlike[1] == ranking.FARTHEST


def test_the_unit_of_uncertainty_does_not_matter():
  rng = np.random.default_rng(0)
  unsure, features = rng.random(20), make_features(rng, 20)
  first = ranking.rank(unsure, features, features[:0])
  second = ranking.rank(1000 * unsure, features, features[:0])
  np.testing.assert_array_equal(first.order, second.order)


@pytest.mark.parametrize("kind", ranking.KINDS)
def test_each_rank_is_the_largest_by_the_formula(kind):
  rng = np.random.default_rng(1)
  unsure, features = rng.random(30), make_features(rng, 30)
  labeled = make_features(rng, 4)
  found = ranking.rank(unsure, features, labeled, kind=kind)
  known = list(labeled)
  for position, image in enumerate(found.order):
    scores = {}
    for other in found.order[position:]:
      nearest = min(np.linalg.norm(features[other] - y) for y in known)
      powers = {"entropy": (1, 0), "diversity": (0, 1)}.get(kind, (1, 1))
      scores[other] = unsure[other] ** powers[0] * nearest ** powers[1]
      if other == image:
        assert found.unlike[image] == pytest.approx(nearest)
    assert max(scores, key=scores.get) == image
    known.append(features[image])


def test_the_rest_follows_in_the_order_of_that_moment():
  rng = np.random.default_rng(2)
  unsure, features = rng.random(12), make_features(rng, 12)
  whole = ranking.rank(unsure, features, features[:0])
  found = ranking.rank(unsure, features, features[:0], num_greedy=3)
  assert found.order[:3].tolist() == whole.order[:3].tolist()
  scores = (unsure * found.unlike)[found.order[3:]]
  assert np.all(np.diff(scores) <= 0)
  assert sorted(found.order) == list(range(12))


def make_features(rng, count):
  vectors = rng.normal(size=(count, 5))
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
