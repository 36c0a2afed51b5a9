"""Banks full of synthetic keys."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import arrays
from u2pl_jax.methods.u2pl import memory_bank
from u2pl_jax.training import train_state


def fill(bank: memory_bank.MemoryBank, seed: int) -> memory_bank.MemoryBank:
  """The bank, full; its memory is used again."""
  rows = arrays.make_keys(np.random.default_rng(seed), bank.keys.shape[-1])

  def refill(keys, count, rows):
    index = jnp.arange(len(keys)) % len(rows)
    capacity = jnp.asarray(bank.capacity, count.dtype)
    return rows[index].astype(keys.dtype), capacity

  refill = jax.jit(
    refill,
    donate_argnums=(0, 1),
    # Laid out otherwise, the step would be compiled again.
    out_shardings=(bank.keys.sharding, bank.count.sharding),
  )
  keys, count = refill(bank.keys, bank.count, rows)
  return bank.replace(keys=keys, count=count)


def fill_state(
  state: train_state.TrainState, seed: int
) -> train_state.TrainState:
  """The state with a full bank, where it has one."""
  bank = getattr(state.memory, "bank", None)
  if bank is None:
    return state
  return state.replace(memory=state.memory.replace(bank=fill(bank, seed)))
