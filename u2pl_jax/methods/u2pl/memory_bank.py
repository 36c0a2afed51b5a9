"""Class-wise ring buffers of negative keys, of fixed size.

All classes share one array of rows; class c owns `capacity[c] + spare`
consecutive ones. The bank is a pure value: every function returns a new one,
and under `jit` with donated state the update happens in place. So that a push
can be taken back all the same, new keys go to the spare rows, where no key is
that counts, and the oldest ones stay until they are written over.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.ops import sampling


@flax.struct.dataclass
class MemoryBank:
  """First-in-first-out keys of every class.

  Attributes:
    keys: [sum of capacities + K spare, D], in the bank's dtype.
    cursor: [K] int32, the row (within the class) that is written next.
    count: [K] int32, keys that count, at most `capacity`: the last ones
      before the cursor.
    capacity: keys of each class; static.
    spare: further rows of each class; static.
  """

  keys: jax.Array
  cursor: jax.Array
  count: jax.Array
  capacity: tuple[int, ...] = flax.struct.field(pytree_node=False)
  spare: int = flax.struct.field(pytree_node=False)

  @property
  def fill(self) -> jax.Array:
    """[K] float32 in [0, 1], how full each class's ring is."""
    return self.count / jnp.asarray(self.capacity, jnp.float32)

  @property
  def rows(self) -> np.ndarray:
    """[K] int32, the rows of each class."""
    return np.asarray(self.capacity, np.int32) + self.spare


def create_memory_bank(
  capacity: Sequence[int],
  width: int,
  dtype: jnp.dtype = jnp.float32,
  *,
  spare: int = 0,
) -> MemoryBank:
  """An empty bank.

  Args:
    capacity: keys for each class, all at least 1.
    width: D.
    dtype: in which keys are kept; bfloat16 halves the memory.
    spare: so many keys of each class can be taken back.

  Raises:
    ValueError: a capacity is below 1.
  """
  capacity = tuple(int(rows) for rows in capacity)
  if not capacity or min(capacity) < 1:
    raise ValueError(f"memory bank capacity {capacity}: each must be >= 1")
  rows = sum(capacity) + spare * len(capacity)
  return MemoryBank(
    keys=jnp.zeros((rows, width), dtype),
    cursor=jnp.zeros(len(capacity), jnp.int32),
    count=jnp.zeros(len(capacity), jnp.int32),
    capacity=capacity,
    spare=spare,
  )


def _first_rows(bank: MemoryBank) -> np.ndarray:
  return np.concatenate([[0], np.cumsum(bank.rows)[:-1]]).astype(np.int32)


def push(bank: MemoryBank, keys: jax.Array, valid: jax.Array) -> MemoryBank:
  """Appends new keys to each class; the oldest make room.

  Args:
    bank: the bank so far.
    keys: [K, R, D], in the order in which they arrive.
    valid: [K, R] bool, which of them exist. Of more than `capacity` new keys
      only the newest stay.

  Returns:
    The bank afterwards.

  Reference: `u2pl/utils/utils.py` (dequeue_and_enqueue).
  """
  capacity = np.asarray(bank.capacity, np.int32)[:, None]
  arrival = jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1
  arrived = jnp.sum(valid, axis=1, dtype=jnp.int32)
  stays = valid & (arrival >= arrived[:, None] - capacity)
  slot = (bank.cursor[:, None] + arrival) % bank.rows[:, None]
  nowhere = len(bank.keys)
  row = jnp.where(stays, _first_rows(bank)[:, None] + slot, nowhere)
  width = keys.shape[-1]
  return bank.replace(
    keys=bank.keys.at[row.reshape(-1)].set(
      keys.reshape(-1, width).astype(bank.keys.dtype), mode="drop"
    ),
    cursor=(bank.cursor + arrived) % bank.rows,
    count=jnp.minimum(bank.count + arrived, capacity[:, 0]),
  )


def take_back(
  before: MemoryBank, after: MemoryBank, is_wanted: jax.Array
) -> MemoryBank:
  """The bank before some pushes, if `is_wanted`, or after them.

  Args:
    before, after: between the two at most `spare` keys of a class were pushed.
    is_wanted: [] bool.
  """
  return after.replace(
    cursor=jnp.where(is_wanted, before.cursor, after.cursor),
    count=jnp.where(is_wanted, before.count, after.count),
  )


def find(bank: MemoryBank, age_rank: jax.Array) -> jax.Array:
  """Rows of `bank.keys` by age.

  Args:
    bank: the bank.
    age_rank: [K, ...] int32, 0 for a class's oldest key; below its count,
      else an arbitrary row of the class comes back.

  Returns:
    [K, ...] int32.
  """
  per_class = (-1,) + (1,) * (age_rank.ndim - 1)
  oldest = (bank.cursor - bank.count).reshape(per_class)
  slot = (oldest + age_rank) % bank.rows.reshape(per_class)
  return _first_rows(bank).reshape(per_class) + slot


def draw_rows(
  bank: MemoryBank,
  key: jax.Array,
  shape: tuple[int, ...],
  draw: sampling.Draw = sampling.draw_ranks,
) -> jax.Array:
  """Rows of keys drawn uniformly with replacement from each class.

  Args:
    bank: the bank.
    key: PRNG key.
    shape: of one class's draw, e.g. (A, N).
    draw: chooses the ranks.

  Returns:
    [K, *shape] int32; rows of zeros or of old keys for an empty class, to be
    masked by `bank.count > 0`.
  """
  return find(bank, draw(key, bank.count, shape))
