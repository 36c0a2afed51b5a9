"""How a step ends: SGD, the teacher follows, and all of it only if finite."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from u2pl_jax.methods.u2pl import memory_bank
from u2pl_jax.training import train_state


class Running(NamedTuple):
  """What one part of a batch hands on to the next.

  Attributes:
    batch_stats, teacher_batch_stats, memory_bank: as in `TrainState`.
  """

  batch_stats: Any
  teacher_batch_stats: Any
  memory_bank: memory_bank.MemoryBank | None

  @classmethod
  def of(cls, state: train_state.TrainState) -> "Running":
    return cls(state.batch_stats, state.teacher_batch_stats, state.memory_bank)


def descend(
  state: train_state.TrainState,
  running: Running,
  tx: optax.GradientTransformation,
  grads: Any,
) -> train_state.TrainState:
  """The state after SGD, with what the parts of the batch left behind."""
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  return state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    opt_state=opt_state,
    **running._asdict(),
  )


def move_teacher(
  state: train_state.TrainState, decay: jax.Array, *, with_statistics: bool
) -> train_state.TrainState:
  """The teacher moves towards the student that has just been updated.

  Args:
    state: after `descend`.
    decay: [] in [0, 1]; 1 keeps the teacher.
    with_statistics: whether its BN statistics move as well.
  """
  params = train_state.ema_update(state.teacher_params, state.params, decay)
  state = state.replace(teacher_params=params)
  if not with_statistics:
    return state
  return state.replace(
    teacher_batch_stats=train_state.ema_update(
      state.teacher_batch_stats, state.batch_stats, decay
    )
  )


def apply_if_finite(
  before: train_state.TrainState,
  after: train_state.TrainState,
  checked: jax.Array,
) -> train_state.TrainState:
  """The state after a step, or the one before where something went wrong.

  Counters go on even so, and with them data, schedules and random numbers.

  Args:
    before: as the step began.
    after: as it would end.
    checked: numbers that must be finite.
  """
  is_bad = ~jnp.all(jnp.isfinite(checked))

  def pick(old, new):
    is_counter = jnp.issubdtype(new.dtype, jnp.integer)
    return new if is_counter else jnp.where(is_bad, old, new)

  bank = after.memory_bank
  if bank is not None:
    # To choose between the keys would take the memory of a second bank.
    bank = memory_bank.take_back(before.memory_bank, bank, is_bad)
  picked = jax.tree.map(
    pick, before.replace(memory_bank=None), after.replace(memory_bank=None)
  )
  return picked.replace(memory_bank=bank)
