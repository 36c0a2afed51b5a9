"""Streams of images: order and random numbers as functions of the position."""

import numpy as np

from u2pl_jax.data import datasets, streams

RECORDS = np.arange(100, 111)
# Recorded, not derived: what the first release drew with seed 0.
FIRST_RECORDS = [100, 102, 109, 101, 108, 105, 104, 103, 110, 106, 107]
FIRST_DRAWS = [0.5529988300536722, 0.5209080243173165]


def test_each_epoch_is_a_new_permutation():
  stream = streams.labeled_stream(RECORDS, seed=0)
  epochs = stream.records_at(np.arange(55)).reshape(5, 11)
  np.testing.assert_array_equal(np.sort(epochs), np.tile(RECORDS, (5, 1)))
  assert len({tuple(epoch) for epoch in epochs}) == 5


def test_short_epoch_takes_the_first_of_its_permutation():
  whole = streams.unlabeled_stream(RECORDS, seed=0, epoch_length=11)
  short = streams.unlabeled_stream(RECORDS, seed=0, epoch_length=8)
  expected = whole.records_at(np.arange(22)).reshape(2, 11)[:, :8].ravel()
  np.testing.assert_array_equal(short.records_at(np.arange(16)), expected)


def test_every_place_of_an_epoch_is_equally_likely():
  stream = streams.labeled_stream(np.arange(4), seed=1)
  first = stream.records_at(np.arange(2000) * 4)
  # 4 standard errors of a share of 1/4.
  shares = np.bincount(first, minlength=4) / 2000
  np.testing.assert_allclose(shares, 0.25, atol=0.039)


def test_positions_can_be_asked_for_in_any_order():
  stream = streams.labeled_stream(RECORDS, seed=2)
  positions = np.array([40, 3, 10**15, 3])
  together = stream.draws_at(positions, 5)
  for position, draws in zip(positions, together):
    alone = stream.draws_at(np.array([position]), 5)[0]
    np.testing.assert_array_equal(alone, draws)
  np.testing.assert_array_equal(together[1], together[3])
  records = stream.records_at(positions)
  assert records[1] == records[3]


def test_draws_are_uniform_and_independent():
  draws = streams.labeled_stream(RECORDS, 3).draws_at(np.arange(4000), 5)
  assert draws.min() >= 0 and draws.max() < 1
  np.testing.assert_allclose(draws.mean(0), 0.5, atol=4 * 12**-0.5 / 63)
  np.testing.assert_allclose(draws.var(0), 1 / 12, atol=0.005)
  correlation = np.corrcoef(np.concatenate([draws[1:], draws[:-1]], 1).T)
  assert np.abs(correlation - np.eye(10)).max() < 0.075


def test_seeds_and_streams_differ_in_everything():
  positions = np.arange(11)
  drawn = [
    (stream.records_at(positions), stream.draws_at(positions, 5))
    for stream in (
      streams.labeled_stream(RECORDS, 0),
      streams.labeled_stream(RECORDS, 1),
      streams.unlabeled_stream(RECORDS, 0, 11),
    )
  ]
  for i, j in ((0, 1), (0, 2), (1, 2)):
    assert (drawn[i][0] != drawn[j][0]).any()
    assert (drawn[i][1] != drawn[j][1]).all()


def test_order_and_draws_are_the_same_for_ever():
  """A checkpoint resumed with a newer version must see the same stream."""
  stream = streams.labeled_stream(RECORDS, seed=0)
  assert stream.records_at(np.arange(11)).tolist() == FIRST_RECORDS
  np.testing.assert_allclose(
    stream.draws_at(np.array([7]), 2), [FIRST_DRAWS], rtol=1e-12
  )


def test_a_list_shorter_than_a_batch_is_repeated():
  split = datasets.Split("3", RECORDS[:1], RECORDS[1:4])
  labeled, unlabeled = streams.of_training(split, batch_size_u=8, seed=0)
  np.testing.assert_array_equal(labeled.records_at(np.arange(8)), [100] * 8)
  drawn = unlabeled.records_at(np.arange(9)).reshape(3, 3)
  np.testing.assert_array_equal(np.sort(drawn), [[101, 102, 103]] * 3)


def test_fixed_pairs_meet_in_every_epoch():
  split = datasets.Split("3", np.arange(3), np.arange(10, 20))
  labeled, unlabeled = streams.of_training(split, 4, 0, pairing="fixed")
  positions = np.arange(24)  # Three epochs of two batches.
  partners = labeled.records_at(positions)
  images = unlabeled.records_at(positions)
  np.testing.assert_array_equal(partners, (images - 10) % 3)
  assert len(np.unique(images[:8])) == 8
  # Their crops are drawn independently all the same.
  assert (
    labeled.draws_at(positions, 2) != unlabeled.draws_at(positions, 2)
  ).all()
  free, again = streams.of_training(split, 4, 0)
  np.testing.assert_array_equal(again.records_at(positions), images)
  assert (free.records_at(positions) != partners).any()


def test_a_longer_labeled_list_is_cut_to_the_unlabeled_one():
  split = datasets.Split("5", np.arange(5), np.arange(10, 14))
  labeled, unlabeled = streams.of_training(split, 2, 0, pairing="fixed")
  positions = np.arange(8)
  np.testing.assert_array_equal(
    labeled.records_at(positions), unlabeled.records_at(positions) - 10
  )


def test_without_unlabeled_images_there_are_no_pairs():
  split = datasets.Split("3", np.arange(3), np.arange(10, 20))
  labeled, unlabeled = streams.of_training(split, 0, 0, pairing="fixed")
  assert unlabeled is None and labeled.epoch_length == 3
