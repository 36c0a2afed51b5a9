"""Picking pixels of each class: exact ranks, uniform draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.ops import sampling

_spread = jax.jit(sampling.spread_ranks, static_argnames="cap")
_draw = jax.jit(sampling.draw_ranks, static_argnames="shape")
_select = jax.jit(sampling.select_rows)


def _assert_equally_likely(hits, draws, probability):
  """Each of the counts within 5 standard errors, and their spread as well."""
  variance = draws * probability * (1 - probability)
  deviations = (np.asarray(hits) - draws * probability) / np.sqrt(variance)
  assert np.abs(deviations).max() < 5
  assert np.mean(deviations**2) < 1 + 5 * np.sqrt(2 / deviations.size)


class TestSelectRows:
  @pytest.mark.parametrize("seed", range(5))
  def test_equals_boolean_indexing(self, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, 3)).astype(np.float32)
    mask = rng.random((60, 4)) < rng.random(4)
    mask[[0, 59], 1] = True, True
    counts = mask.sum(axis=0)
    ranks = rng.integers(0, np.maximum(counts, 1)[:, None], (4, 25))
    # As 60 pixels of one image, and of 4 images.
    rows, again = (
      np.asarray(
        _select(
          features.reshape(images, -1, 3),
          mask.reshape(images, -1, 4),
          ranks.astype(np.int32),
        )
      )
      for images in (1, 4)
    )
    np.testing.assert_array_equal(again, rows)
    for c in np.flatnonzero(counts):
      expected = features[mask[:, c]][ranks[c]]
      np.testing.assert_array_equal(rows[c], expected)

  def test_first_and_last_pixel_can_be_picked(self):
    features = jnp.arange(5.0)[:, None]
    mask = np.array([[True, False, False, False, True]]).T
    rows = _select(features[None], mask[None], np.array([[0, 1]], np.int32))
    np.testing.assert_array_equal(rows[0, :, 0], [0, 4])

  def test_rank_past_the_count_gives_some_row(self):
    features = np.ones((5, 2), np.float32)
    mask = np.zeros((5, 2), bool)
    mask[1, 0] = True
    ranks = np.array([[1, 9], [0, 3]], np.int32)
    rows = _select(features[None], mask[None], ranks)
    np.testing.assert_array_equal(rows, np.ones((2, 2, 2)))

  def test_gradient_reaches_each_picked_pixel_as_often_as_picked(self):
    mask = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool)
    ranks = np.array([[0, 1, 1, 1], [1, 0, 0, 1]], np.int32)
    weights = np.arange(1.0, 9.0, dtype=np.float32).reshape(2, 4, 1)

    def total(features):
      rows = sampling.select_rows(features, mask[None], ranks)
      return jnp.sum(weights * rows)

    gradient = jax.jit(jax.grad(total))(jnp.ones((1, 4, 1)))[0]
    # Class 0: pixels 0, 2, 2, 2; class 1: pixels 2, 1, 1, 2.
    expected = [1, 6 + 7, 2 + 3 + 4 + 5 + 8, 0]
    np.testing.assert_array_equal(gradient[:, 0], expected)


class TestDrawRanks:
  def test_stay_below_the_count_and_reach_every_rank(self):
    count = np.array([1, 2, 7, 30], np.int32)
    ranks = np.asarray(_draw(jax.random.key(0), count, shape=(20, 25)))
    assert ranks.shape == (4, 20, 25)
    for c, n in enumerate(count):
      np.testing.assert_array_equal(np.unique(ranks[c]), np.arange(n))

  def test_are_zero_for_an_empty_class(self):
    ranks = _draw(jax.random.key(0), np.array([0, 5], np.int32), shape=(9,))
    np.testing.assert_array_equal(ranks[0], np.zeros(9))

  def test_are_uniform_in_every_class(self):
    count = np.array([3, 10, 64], np.int32)
    ranks = np.asarray(_draw(jax.random.key(1), count, shape=(20_000,)))
    for c, n in enumerate(count):
      hits = np.bincount(ranks[c], minlength=n)
      _assert_equally_likely(hits, 20_000, 1 / n)

  def test_are_independent_between_and_within_classes(self):
    count = np.full(2, 10, np.int32)
    ranks = _draw(jax.random.key(2), count, shape=(5_000, 2))
    streams = np.asarray(ranks).transpose(0, 2, 1).reshape(4, -1)
    correlation = np.corrcoef(streams) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(5_000)

  def test_another_key_draws_others(self):
    count = np.array([1000], np.int32)
    a, b = (_draw(jax.random.key(s), count, shape=(50,)) for s in (0, 1))
    assert np.any(np.asarray(a) != np.asarray(b))


class TestSpreadRanks:
  def test_are_all_ranks_in_order_up_to_the_cap(self):
    count = np.arange(9, dtype=np.int32)
    ranks, valid = _spread(jax.random.key(0), count, cap=8)
    for c in range(9):
      np.testing.assert_array_equal(valid[c], np.arange(8) < c)
      np.testing.assert_array_equal(np.asarray(ranks)[c, :c], np.arange(c))

  @pytest.mark.parametrize(
    "cap, counts",
    [
      (1, (2, 3, 1000)),
      (2, (3, 4, 5)),
      (7, (8, 13, 15)),
      (512, (513, 1023, 40_001)),
      # Whole maps of 16 + 16 crops at stride 4.
      (4096, (4097, 8191, 532_512)),
      (30_000, (30_001, 59_999, 2_000_000)),
      (60_000, (60_001, 119_999, 532_512)),
    ],
  )
  def test_are_different_increasing_and_below_the_count(self, cap, counts):
    count = np.array(counts, np.int32)
    for seed in range(5):
      ranks, valid = _spread(jax.random.key(seed), count, cap=cap)
      ranks = np.asarray(ranks)
      assert np.all(valid)
      assert np.all(ranks >= 0)
      assert np.all(ranks < count[:, None])
      assert np.all(np.diff(ranks, axis=1) > 0)

  @pytest.mark.parametrize("cap, count", [(1, 5), (3, 4), (8, 21), (16, 40)])
  def test_include_every_rank_equally_often(self, cap, count):
    keys = jax.random.split(jax.random.key(3), 8_000)
    draw = jax.vmap(lambda k: sampling.spread_ranks(k, jnp.array([count]), cap))
    ranks, _ = jax.jit(draw)(keys)
    hits = np.bincount(np.asarray(ranks).ravel(), minlength=count)
    _assert_equally_likely(hits, 8_000, cap / count)

  def test_spread_over_the_whole_range(self):
    ranks, _ = _spread(jax.random.key(4), np.array([100_000]), cap=1000)
    gaps = np.diff(np.asarray(ranks[0]))
    assert gaps.min() >= 99
    assert gaps.max() <= 101

  def test_differ_between_classes(self):
    ranks, _ = _spread(jax.random.key(5), np.array([9999, 9999]), cap=10)
    assert np.any(np.asarray(ranks[0]) != np.asarray(ranks[1]))
