"""The ring buffers against a deque for each class."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import held_keys
from u2pl_jax.methods.u2pl import memory_bank

_push = jax.jit(memory_bank.push)
_take_back = jax.jit(memory_bank.take_back)
_find = jax.jit(memory_bank.find)
_draw_rows = jax.jit(memory_bank.draw_rows, static_argnames="shape")


class _Deques:
  """What a first-in-first-out queue holds."""

  def __init__(self, capacity):
    self.queues = [collections.deque(maxlen=rows) for rows in capacity]

  def push(self, keys, valid):
    for queue, new, exists in zip(self.queues, keys, valid, strict=True):
      queue.extend(new[exists])

  def assert_equal_to(self, bank):
    for queue, held in zip(
      self.queues, held_keys.of_each_class(bank), strict=True
    ):
      assert len(held) == len(queue)
      np.testing.assert_array_equal(held, np.array(queue).reshape(held.shape))


@pytest.mark.parametrize("spare", [0, 4, 11])
@pytest.mark.parametrize(
  "capacity", [(1,), (1, 2, 3), (5, 7, 4, 16), (40, 30, 30)]
)
def test_holds_what_a_deque_holds_over_many_pushes(capacity, spare):
  rng = np.random.default_rng(sum(capacity))
  bank = memory_bank.create_memory_bank(capacity, 2, spare=spare)
  deques = _Deques(capacity)
  serial = 0.0
  for density in [0.05, 0.4, 1.0, 0.0, 0.7] * 10:
    shape = (len(capacity), 11)
    keys = serial + np.arange(np.prod(shape) * 2, dtype=np.float32)
    keys = keys.reshape(shape + (2,))
    serial += keys.size
    valid = rng.random(shape) < density
    bank = _push(bank, keys, valid)
    deques.push(keys, valid)
    deques.assert_equal_to(bank)


def test_push_overwrites_oldest_when_full():
  bank = memory_bank.create_memory_bank([3, 3], 1)
  first = jnp.asarray([[[1.0], [2.0], [3.0]], [[10.0], [20.0], [30.0]]])
  bank = _push(bank, first, jnp.ones((2, 3), bool))
  second = jnp.asarray([[[4.0], [0.0]], [[40.0], [50.0]]])
  bank = _push(bank, second, jnp.asarray([[True, False], [True, True]]))
  held = held_keys.of_each_class(bank)
  np.testing.assert_array_equal(held[0][:, 0], [2, 3, 4])
  np.testing.assert_array_equal(held[1][:, 0], [30, 40, 50])


def test_push_of_more_than_the_capacity_keeps_the_newest():
  bank = memory_bank.create_memory_bank([2, 4], 1)
  keys = jnp.arange(14.0).reshape(2, 7, 1)
  valid = jnp.asarray([[1, 1, 0, 1, 1, 1, 0], [1] * 7], bool)
  held = held_keys.of_each_class(_push(bank, keys, valid))
  np.testing.assert_array_equal(held[0][:, 0], [4, 5])
  np.testing.assert_array_equal(held[1][:, 0], [10, 11, 12, 13])


def test_push_of_nothing_changes_nothing():
  bank = memory_bank.create_memory_bank([2, 3], 1)
  bank = _push(bank, jnp.ones((2, 5, 1)), jnp.ones((2, 5), bool))
  after = _push(bank, jnp.full((2, 4, 1), jnp.nan), jnp.zeros((2, 4), bool))
  jax.tree.map(np.testing.assert_array_equal, bank, after)


def test_a_class_never_writes_into_another():
  bank = memory_bank.create_memory_bank([3, 5, 2], 1)
  keys = jnp.full((3, 9, 1), 7.0)
  valid = jnp.zeros((3, 9), bool).at[1].set(True)
  bank = _push(bank, keys, valid)
  expected = [0] * 3 + [7] * 5 + [0] * 2
  np.testing.assert_array_equal(bank.keys[:, 0], expected)
  np.testing.assert_array_equal(bank.count, [0, 5, 0])
  np.testing.assert_allclose(bank.fill, [0, 1, 0])


def test_fill_is_the_share_of_rows_in_use():
  bank = memory_bank.create_memory_bank([4, 10], 1)
  assert not np.any(bank.fill)
  bank = _push(bank, jnp.ones((2, 3, 1)), jnp.ones((2, 3), bool))
  np.testing.assert_allclose(bank.fill, [0.75, 0.3], rtol=1e-6)


def test_find_goes_by_age_for_any_shape_of_ranks():
  bank = memory_bank.create_memory_bank([4, 4], 1)
  keys = jnp.stack([jnp.arange(6.0), 10 + jnp.arange(6.0)])[..., None]
  bank = _push(bank, keys, jnp.ones((2, 6), bool))
  ranks = jnp.asarray([[[0, 3], [1, 0]], [[3, 3], [2, 0]]])
  taken = bank.keys[_find(bank, ranks)]
  assert taken.shape == (2, 2, 2, 1)
  expected = [[[2, 5], [3, 2]], [[15, 15], [14, 12]]]
  np.testing.assert_array_equal(taken[..., 0], expected)


def test_find_past_the_count_stays_within_the_class():
  bank = memory_bank.create_memory_bank([3, 3], 1)
  keys = jnp.asarray([[[1.0]] * 3, [[2.0]] * 3])
  bank = _push(bank, keys, jnp.ones((2, 3), bool))
  ranks = jnp.asarray([[3, 50], [4, 999]])
  taken = bank.keys[_find(bank, ranks)]
  np.testing.assert_array_equal(taken[..., 0], [[1, 1], [2, 2]])


def test_drawn_are_filled_rows_uniformly_and_with_replacement():
  bank = memory_bank.create_memory_bank([8, 5, 6], 1)
  keys = jnp.arange(1.0, 22.0).reshape(3, 7, 1)
  valid = jnp.arange(7)[None] < jnp.asarray([[4], [7], [0]])
  bank = _push(bank, keys, valid)
  shape = (100, 60)
  drawn = bank.keys[_draw_rows(bank, jax.random.key(0), shape=shape)]
  assert drawn.shape == (3, 100, 60, 1)
  for c, expected in ((0, [1, 2, 3, 4]), (1, [10, 11, 12, 13, 14])):
    values, hits = np.unique(drawn[c], return_counts=True)
    np.testing.assert_array_equal(values, expected)
    mean = np.prod(shape) / len(expected)
    assert np.abs(hits - mean).max() < 5 * np.sqrt(mean)


def test_drawn_of_an_empty_bank_is_finite():
  bank = memory_bank.create_memory_bank([8, 5], 3)
  drawn = bank.keys[_draw_rows(bank, jax.random.key(0), shape=(4, 2))]
  np.testing.assert_array_equal(drawn, np.zeros((2, 4, 2, 3)))


def test_keys_are_kept_in_the_dtype_asked_for():
  bank = memory_bank.create_memory_bank([3], 1, jnp.bfloat16)
  keys = jnp.asarray([[[1.0], [1.0 + 2.0**-9]]])
  bank = _push(bank, keys, jnp.ones((1, 2), bool))
  assert bank.keys.dtype == jnp.bfloat16
  taken = bank.keys[_find(bank, jnp.asarray([[0, 1]]))].astype(jnp.float32)
  np.testing.assert_array_equal(taken[0, :, 0], [1, 1])


@pytest.mark.parametrize("capacity", [(), (3, 0), (-1, 5)])
def test_capacity_below_one_is_refused(capacity):
  with pytest.raises(ValueError, match="capacity"):
    memory_bank.create_memory_bank(capacity, 4)


class TestTakeBack:
  @pytest.mark.parametrize("pushes_before", [0, 1, 2, 5, 6, 7])
  @pytest.mark.parametrize("pushes", [1, 2])
  def test_restores_what_was_held(self, pushes_before, pushes):
    """Of empty, part full and full rings, and around their ends."""
    rng = np.random.default_rng(pushes_before)

    def push(bank):
      keys = rng.normal(size=(3, 4, 2)).astype(np.float32)
      return _push(bank, keys, rng.random((3, 4)) < 0.8)

    bank = memory_bank.create_memory_bank([5, 3, 16], 2, spare=8)
    for _ in range(pushes_before):
      bank = push(bank)
    after = bank
    for _ in range(pushes):
      after = push(after)
    restored = _take_back(bank, after, True)
    for left, right in zip(
      held_keys.of_each_class(restored), held_keys.of_each_class(bank)
    ):
      np.testing.assert_array_equal(left, right)
    kept = _take_back(bank, after, False)
    jax.tree.map(np.testing.assert_array_equal, kept, after)

  def test_needs_no_second_bank(self):
    @functools.partial(jax.jit, donate_argnums=0)
    def push_and_perhaps_take_back(bank, keys, valid):
      after = memory_bank.push(bank, keys, valid)
      rows = memory_bank.draw_rows(after, jax.random.key(0), (3,))
      drawn = after.keys[rows]
      is_wanted = jnp.any(jnp.isnan(drawn))
      return memory_bank.take_back(bank, after, is_wanted), drawn

    bank = memory_bank.create_memory_bank([50_000] * 4, 8, spare=10)
    keys, valid = np.zeros((4, 10, 8), np.float32), np.ones((4, 10), bool)
    compiled = push_and_perhaps_take_back.lower(bank, keys, valid).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= bank.keys.nbytes
    assert memory.temp_size_in_bytes < bank.keys.nbytes / 10
