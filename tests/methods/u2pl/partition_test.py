"""Entropy, masked percentiles and the reliable/unreliable partition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods.u2pl import partition
from u2pl_jax.ops import percentile

PERCENTS = (0.0, 0.25, 12.5, 20.0, 33.3, 50.0, 80.0, 93.3, 99.75, 100.0)

_entropy = jax.jit(percentile.compute_entropy)
_percentiles = jax.jit(percentile.masked_percentiles)
_kth_smallest = jax.jit(percentile.kth_smallest)
_split = jax.jit(partition.partition_by_entropy, static_argnames="reliable")


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


def _numpy_partition(entropy, valid, drop_percent, alpha, reliable):
  """Written from the table in the paper's and the published code's rules."""
  drop, low, high = np.percentile(
    entropy[valid], [drop_percent, alpha, 100 - alpha]
  ).astype(np.float32)
  kept = valid & ~(entropy >= drop)
  if reliable == "below_unreliable":
    return kept, valid & (entropy <= high), valid & (entropy > high)
  return kept, valid & (entropy <= low), valid & (entropy >= high)


def _masks(split):
  return split.kept, split.reliable, split.unreliable


class TestPartition:
  # 11 pixels, the last without a pseudo-label: of 0..9, percentile 20 is 1.8,
  # percentile 80 is 7.2.
  entropy = np.float32([9, 0, 8, 1, 7, 2, 6, 3, 5, 4, 0])
  valid = np.arange(11) < 10

  def _indices(self, mask):
    assert not mask[-1]
    return sorted(self.entropy[:-1][np.asarray(mask)[:-1]])

  def test_paper_worked_by_hand(self):
    split = _split(
      self.entropy,
      self.valid,
      drop_percent=80.0,
      unreliable_percent=20.0,
      reliable="below_unreliable",
    )
    np.testing.assert_allclose(split.drop_threshold, 7.2, rtol=1e-6)
    np.testing.assert_allclose(split.reliable_threshold, 7.2, rtol=1e-6)
    np.testing.assert_allclose(split.unreliable_threshold, 7.2, rtol=1e-6)
    assert self._indices(split.kept) == list(range(8))
    assert self._indices(split.reliable) == list(range(8))
    assert self._indices(split.unreliable) == [8, 9]

  def test_reference_worked_by_hand(self):
    split = _split(
      self.entropy,
      self.valid,
      drop_percent=50.0,
      unreliable_percent=20.0,
      reliable="lowest",
    )
    np.testing.assert_allclose(split.drop_threshold, 4.5, rtol=1e-6)
    np.testing.assert_allclose(split.reliable_threshold, 1.8, rtol=1e-6)
    np.testing.assert_allclose(split.unreliable_threshold, 7.2, rtol=1e-6)
    assert self._indices(split.kept) == list(range(5))
    assert self._indices(split.reliable) == [0, 1]
    assert self._indices(split.unreliable) == [8, 9]

  @pytest.mark.parametrize(
    "reliable, expected_reliable, expected_unreliable",
    [
      ("below_unreliable", list(range(10)), []),
      ("lowest", [0], [9]),
    ],
  )
  def test_at_the_end_of_the_run_the_maximum_is_still_dropped(
    self, reliable, expected_reliable, expected_unreliable
  ):
    split = _split(
      self.entropy,
      self.valid,
      drop_percent=100.0,
      unreliable_percent=0.0,
      reliable=reliable,
    )
    assert self._indices(split.kept) == list(range(9))
    assert self._indices(split.reliable) == expected_reliable
    assert self._indices(split.unreliable) == expected_unreliable

  @pytest.mark.parametrize(
    "reliable, unreliable_count", [("below_unreliable", 0), ("lowest", 10)]
  )
  def test_equal_entropies_are_all_at_the_threshold(
    self, reliable, unreliable_count
  ):
    split = _split(
      np.full(11, 1.7, np.float32),
      self.valid,
      drop_percent=80.0,
      unreliable_percent=20.0,
      reliable=reliable,
    )
    assert not np.any(split.kept)
    np.testing.assert_array_equal(split.reliable, self.valid)
    assert np.sum(split.unreliable) == unreliable_count

  @pytest.mark.parametrize("reliable", ["below_unreliable", "lowest"])
  def test_nothing_valid_selects_nothing(self, reliable):
    split = _split(
      self.entropy,
      np.zeros(11, bool),
      drop_percent=80.0,
      unreliable_percent=20.0,
      reliable=reliable,
    )
    for mask in _masks(split):
      assert not np.any(mask)
    assert split.drop_threshold == 0

  @pytest.mark.parametrize("reliable", ["below_unreliable", "lowest"])
  @pytest.mark.parametrize("seed", range(6))
  def test_equals_numpy_with_ties(self, reliable, seed):
    rng = np.random.default_rng(seed)
    # Few distinct values: whole groups sit exactly on a threshold.
    entropy = rng.integers(0, 12, (2, 9, 13)).astype(np.float32)
    valid = rng.random(entropy.shape) < 0.8
    alpha = float(np.float32(rng.uniform(0, 30)))
    drop_percent = float(np.float32(rng.uniform(50, 100)))
    split = _split(
      entropy,
      valid,
      drop_percent=drop_percent,
      unreliable_percent=alpha,
      reliable=reliable,
    )
    expected = _numpy_partition(entropy, valid, drop_percent, alpha, reliable)
    for ours, theirs in zip(_masks(split), expected, strict=True):
      np.testing.assert_array_equal(ours, theirs)

  @pytest.mark.parametrize("progress", [0.0, 0.31, 0.5, 0.875, 1.0])
  def test_paper_splits_the_valid_pixels_in_two(self, progress):
    rng = np.random.default_rng(7)
    entropy = rng.gamma(2.0, size=(2, 31, 37)).astype(np.float32)
    valid = rng.random(entropy.shape) < 0.7
    alpha = np.float32(20 * (1 - progress))
    split = _split(
      entropy,
      valid,
      drop_percent=100 - alpha,
      unreliable_percent=alpha,
      reliable="below_unreliable",
    )
    kept, reliable, unreliable = map(np.asarray, _masks(split))
    np.testing.assert_array_equal(reliable ^ unreliable, valid)
    assert not np.any(kept & ~reliable)
    # Between two pixels the percentile separates them: the same split.
    assert np.sum(reliable & ~kept) <= 1
    assert abs(unreliable.sum() - alpha / 100 * valid.sum()) <= 1

  def test_unknown_rule_is_named_in_the_error(self):
    with pytest.raises(ValueError, match="'highest'.*'below_unreliable'"):
      _split(
        self.entropy,
        self.valid,
        drop_percent=80.0,
        unreliable_percent=20.0,
        reliable="highest",
      )
