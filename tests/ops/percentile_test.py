"""Entropy, order statistics and percentiles of masked values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.ops import percentile

PERCENTS = (0.0, 0.25, 12.5, 20.0, 33.3, 50.0, 80.0, 93.3, 99.75, 100.0)

_entropy = jax.jit(percentile.compute_entropy)
_percentiles = jax.jit(percentile.masked_percentiles)
_kth_smallest = jax.jit(percentile.kth_smallest)


def _value_sets():
  rng = np.random.default_rng(0)
  normal = rng.normal(size=300)
  sets = {
    "normal": normal,
    "ties": rng.integers(0, 6, 299) / 3.0,
    "constant": np.full(40, 1.25),
    "all_negative": -np.exp(normal),
    "both_signs_and_zeros": np.round(normal),
    "many_magnitudes": normal * 10.0 ** rng.integers(-20, 20, 300),
    "one_value": np.array([2.5]),
    "two_values": np.array([3.0, -1.0]),
    "one_outlier": np.append(np.zeros(99), 7.0),
  }
  return {name: values.astype(np.float32) for name, values in sets.items()}


def _padded(values):
  """The values among masked-out ones, always of one shape: one compilation."""
  padded = np.full(300, np.nan, np.float32)
  padded[: values.size] = values
  order = np.random.default_rng(5).permutation(300)
  return padded[order], order < values.size


def _numpy_entropy(logits):
  logits = logits.astype(np.float64)
  exponentials = np.exp(logits - logits.max(-1, keepdims=True))
  probs = exponentials / exponentials.sum(-1, keepdims=True)
  return -(probs * np.log(probs + 1e-10)).sum(-1)


class TestEntropy:
  def test_of_a_uniform_prediction_is_log_of_the_class_count(self):
    entropy = percentile.compute_entropy(jnp.zeros((2, 3, 7)))
    np.testing.assert_allclose(entropy, np.full((2, 3), np.log(7)), rtol=1e-6)

  def test_of_a_certain_prediction_is_zero_even_with_huge_logits(self):
    logits = jnp.asarray([[1e4, 0.0, -1e4], [0.0, 100.0, 0.0]])
    np.testing.assert_allclose(percentile.compute_entropy(logits), 0, atol=1e-6)

  def test_worked_by_hand(self):
    logits = jnp.log(jnp.asarray([0.5, 0.25, 0.25]))
    entropy = percentile.compute_entropy(logits)
    np.testing.assert_allclose(entropy, 1.5 * np.log(2), rtol=1e-6)

  @pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
  def test_equals_numpy(self, scale):
    logits = scale * np.random.default_rng(1).normal(size=(50, 21))
    logits = logits.astype(np.float32)
    np.testing.assert_allclose(
      _entropy(logits),
      _numpy_entropy(logits),
      atol=2e-6,
    )


class TestKthSmallest:
  @pytest.mark.parametrize("name", _value_sets())
  def test_equals_a_sort_at_every_rank(self, name):
    values = _value_sets()[name]
    found = _kth_smallest(*_padded(values), np.arange(300))
    expected = np.full(300, np.nan)  # past the last masked value
    expected[: values.size] = np.sort(values)
    np.testing.assert_array_equal(found, expected)

  def test_skips_masked_out_values_even_nan(self):
    values = np.array([[np.nan, 3.0, -8.0], [1.0, np.nan, 2.0]], np.float32)
    mask = np.array([[False, True, False], [True, False, True]])
    found = _kth_smallest(values, mask, np.arange(3))
    np.testing.assert_array_equal(found, [1, 2, 3])

  def test_orders_infinities(self):
    values = np.array([np.inf, 0.0, -np.inf, 5.0], np.float32)
    found = _kth_smallest(values, np.ones(4, bool), np.arange(4))
    np.testing.assert_array_equal(found, [-np.inf, 0, 5, np.inf])


class TestMaskedPercentiles:
  @pytest.mark.parametrize("name", _value_sets())
  def test_equal_numpy(self, name):
    values = _value_sets()[name]
    ours = _percentiles(*_padded(values), PERCENTS)
    theirs = np.percentile(values.astype(np.float64), np.float32(PERCENTS))
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)

  @pytest.mark.parametrize("seed", range(5))
  def test_equal_numpy_for_random_masks(self, seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, size=(2, 17, 23)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = 0.5
    mask = rng.random(values.shape) < rng.random()
    percents = np.float32(rng.uniform(0, 100, 6))
    np.testing.assert_allclose(
      _percentiles(values, mask, percents),
      np.percentile(values[mask].astype(np.float64), percents),
      rtol=1e-5,
      atol=1e-6,
    )

  def test_extremes_are_exact_for_every_count(self):
    # A fractional rank off by one rounding would miss the maximum, which the
    # entropy test must drop.
    values = np.random.default_rng(2).gamma(1.0, size=400).astype(np.float32)
    counts = np.arange(1, 401)
    masks = np.arange(400)[None] < counts[:, None]
    ours = jax.jit(
      jax.vmap(percentile.masked_percentiles, in_axes=(None, 0, None))
    )(values, masks, jnp.asarray([0.0, 100.0]))
    expected = [[values[:n].min(), values[:n].max()] for n in counts]
    np.testing.assert_array_equal(ours, expected)

  @pytest.mark.parametrize("count", [101, 701])
  def test_whole_ranks_give_elements_of_the_input(self, count):
    values = np.random.default_rng(3).normal(size=count).astype(np.float32)
    percents = np.arange(101)
    ours = _percentiles(values, np.ones(count, bool), percents)
    whole = np.sort(values)[percents * ((count - 1) // 100)]
    np.testing.assert_array_equal(ours, whole)

  def test_rank_is_right_among_five_million(self):
    count = 5_000_003
    order = np.random.default_rng(4).permutation(count)
    mask = np.ones(count, bool)
    for percent in (50.0, 80.0, 93.3, 99.75):
      rank = float(np.float32(percent)) / 100 * (count - 1)
      # The value is the rank itself, counted from near the wanted one, where
      # float32 resolves small fractions of a rank.
      base = np.floor(rank)
      values = (order - base).astype(np.float32)
      found = _percentiles(values, mask, [percent])
      np.testing.assert_allclose(found, rank - base, atol=0.01)

  def test_of_nothing_is_zero(self):
    values = np.full((3, 4), np.nan, np.float32)
    found = _percentiles(values, np.zeros((3, 4), bool), PERCENTS)
    np.testing.assert_array_equal(found, np.zeros(len(PERCENTS)))

  def test_of_equal_values_is_that_value_exactly(self):
    values = np.full(1000, 0.1, np.float32)
    found = _percentiles(values, np.arange(1000) < 777, PERCENTS)
    np.testing.assert_array_equal(found, np.full(len(PERCENTS), 0.1, "f4"))
