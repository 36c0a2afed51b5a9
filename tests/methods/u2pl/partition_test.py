"""The partition into reliable and unreliable pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods.u2pl import partition
from u2pl_jax.ops import percentile

_split = jax.jit(partition.partition_by_entropy, static_argnames="reliable")


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

  def test_a_uniform_teacher_keeps_no_pixel(self):
    split = _split(
      percentile.compute_entropy(jnp.zeros((1, 4, 4, 3))),
      np.ones((1, 4, 4), bool),
      drop_percent=80.0,
      unreliable_percent=20.0,
      reliable="below_unreliable",
    )
    assert not np.any(split.kept)

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
