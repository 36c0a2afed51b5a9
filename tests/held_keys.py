"""What a memory bank holds, as a first-in-first-out queue would list it."""

import jax
import numpy as np

from u2pl_jax.methods.u2pl import memory_bank

_find = jax.jit(memory_bank.find)


def of_each_class(bank: memory_bank.MemoryBank) -> list[np.ndarray]:
  """Every class's keys, oldest first, found by `memory_bank.find`."""
  longest = max(bank.capacity)
  ranks = np.broadcast_to(np.arange(longest), (len(bank.capacity), longest))
  keys = np.asarray(bank.keys)[_find(bank, ranks)]
  return [keys[c, :n] for c, n in enumerate(np.asarray(bank.count))]
