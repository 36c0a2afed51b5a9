"""Class means, InfoNCE, and its mean over classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.losses import contrastive

_means = jax.jit(contrastive.class_means)
_info_nce = jax.jit(contrastive.info_nce)
# Of two classes, three anchors, five negatives.
ROWS = np.random.default_rng(1).integers(0, 6, (2, 3, 5))
_mean = jax.jit(contrastive.mean_over_classes, static_argnames="divide_by")


@jax.jit
@jax.value_and_grad
def _total_info_nce(vectors):
  return jnp.sum(contrastive.info_nce(**vectors, rows=ROWS, temperature=0.5))


def _unit(vectors):
  return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


class TestClassMeans:
  def test_worked_by_hand(self):
    features = jnp.asarray([[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]])
    mask = jnp.asarray([[1, 0, 0], [1, 0, 1], [0, 0, 0]], bool)
    expected = [[2, 4], [0, 0], [3, 6]]
    np.testing.assert_allclose(_means(features, mask), expected, rtol=1e-6)

  @pytest.mark.parametrize("seed", range(2))
  def test_equal_numpy_also_far_from_zero(self, seed):
    rng = np.random.default_rng(seed)
    features = (100 + rng.normal(size=(500, 4))).astype(np.float32)
    mask = rng.random((500, 3)) < 0.5
    expected = [features[m].astype(np.float64).mean(axis=0) for m in mask.T]
    np.testing.assert_allclose(_means(features, mask), expected, rtol=2e-6)


class TestInfoNce:
  @pytest.mark.parametrize("temperature", [0.5, 1.0])
  def test_worked_by_hand(self, temperature):
    # The positive is parallel to the anchor, two negatives are orthogonal,
    # one is opposite; lengths do not matter.
    anchors = jnp.asarray([[[3.0, 0.0], [0.5, 0.0]]])
    positives = jnp.asarray([[0.1, 0.0]])
    negatives = jnp.asarray([[0.0, 2.0], [0.0, -9.0], [-4.0, 0.0]])
    rows = jnp.asarray([[[0, 1, 2], [2, 1, 0]]])
    loss = _info_nce(
      anchors, positives, negatives, rows, temperature=temperature
    )
    same, opposite = np.exp(1 / temperature), np.exp(-1 / temperature)
    expected = -np.log(same / (same + 2 + opposite))
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)

  @pytest.mark.parametrize("zero", ["anchors", "positives", "keys"])
  def test_of_a_zero_vector_has_finite_value_and_gradient(self, zero):
    rng = np.random.default_rng(0)
    vectors = {
      "anchors": rng.normal(size=(2, 3, 4)),
      "positives": rng.normal(size=(2, 4)),
      "keys": rng.normal(size=(6, 4)),
    }
    vectors = {k: v.astype(np.float32) for k, v in vectors.items()}
    vectors[zero][0] = 0

    loss, gradient = _total_info_nce(vectors)
    assert np.isfinite(loss)
    for leaf in jax.tree.leaves(gradient):
      assert np.all(np.isfinite(leaf))

  @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
  def test_value_and_gradient_are_those_of_all_negatives_at_once(self, dtype):
    rng = np.random.default_rng(2)
    anchors = rng.normal(size=(2, 3, 4)).astype(np.float32)
    positives = rng.normal(size=(2, 4)).astype(np.float32)
    keys = jnp.asarray(rng.normal(size=(6, 4)), dtype)

    def at_once(anchors):
      negatives = _unit(keys.astype(jnp.float32))[ROWS]
      a, p = _unit(anchors), _unit(positives)
      own = jnp.exp(2 * jnp.sum(a * p[:, None], axis=-1))
      others = jnp.exp(2 * jnp.sum(a[:, :, None] * negatives, axis=-1))
      return -jnp.mean(jnp.log(own / (own + others.sum(-1))), axis=1)

    def ours(anchors):
      return contrastive.info_nce(
        anchors, positives, keys, ROWS, temperature=0.5
      )

    def value_and_gradient(function):
      weights = np.float32([2.0, -3.0])
      gradient = jax.grad(lambda anchors: jnp.sum(weights * function(anchors)))
      return function(anchors), gradient(anchors)

    pairs = zip(*map(value_and_gradient, (ours, at_once)), strict=True)
    for actual, expected in pairs:
      np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


class TestMeanOverClasses:
  per_class = np.float32([2.0, 4.0, 60.0, np.nan])
  contributes = np.array([True, True, False, False])

  def _mean(self, present, divide_by):
    present = np.asarray(present)
    return _mean(self.per_class, self.contributes, present, divide_by=divide_by)

  def test_divides_by_the_classes_that_contributed(self):
    assert self._mean([True, True, True, False], "contributing") == 3

  def test_divides_by_the_classes_present(self):
    assert self._mean([True, True, True, False], "present") == 2

  @pytest.mark.parametrize("divide_by", ["contributing", "present"])
  @pytest.mark.parametrize("count", [0, 1])
  def test_is_zero_with_at_most_one_class_present(self, divide_by, count):
    assert self._mean(np.arange(4) < count, divide_by) == 0

  @pytest.mark.parametrize("divide_by", ["contributing", "present"])
  def test_is_zero_where_none_contributes(self, divide_by):
    loss = _mean(
      np.full(4, np.nan, np.float32),
      np.zeros(4, bool),
      np.ones(4, bool),
      divide_by=divide_by,
    )
    assert loss == 0

  def test_unknown_divisor_is_named_in_the_error(self):
    with pytest.raises(ValueError, match="'anchors'.*contributing.*present"):
      self._mean([True] * 4, "anchors")
