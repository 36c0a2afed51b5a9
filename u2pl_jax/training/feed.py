"""Batches on the devices, and what a method asks the next ones to hold."""

import collections
from collections.abc import Mapping
from typing import Protocol

import jax
import numpy as np

from u2pl_jax.data import supply as supply_lib
from u2pl_jax.runtime import sharding
from u2pl_jax.training import programs as programs_lib
from u2pl_jax.training import train_state


class Batches(Protocol):
  """This process's part of each batch, in order."""

  def __next__(self) -> Mapping[str, np.ndarray]: ...

  def ask(self, step: int, requests: Mapping[str, np.ndarray]) -> None: ...


class Feed:
  """The batches of a run, each put on the devices before it is needed."""

  def __init__(
    self,
    batches: Batches,
    programs: programs_lib.Programs,
    start_step: int,
    state: train_state.TrainState,
  ):
    """Begins at a step.

    Args:
      batches: from `start_step` on.
      programs: of the run.
      start_step: updates made before.
      state: at that step.
    """
    supply = programs.supply
    self._batches = batches
    self._mesh = programs.mesh
    self._waiting = collections.deque()
    self._next_step = start_step
    self._requests = None
    self._ahead = supply_lib.AHEAD
    if supply.is_requested:
      self._requests = programs.phases[0].method.requests
      self._ahead = supply_lib.AHEAD if supply.lag else 0
      self._take_row = jax.jit(
        lambda requests, row: {n: a[row] for n, a in requests.items()},
        out_shardings=sharding.replicate(self._mesh),
      )
      self._next_asked = start_step
      asked = self._requests(state.memory)
      self._pending = collections.deque(
        self._take_row(asked, row) for row in range(supply.lag + 1)
      )

  def take(self) -> dict[str, jax.Array]:
    """The next batch, global arrays; the one after it is put on its way."""
    while len(self._waiting) <= self._ahead:
      if self._requests is not None:
        self._ask()
      batch = sharding.to_global(next(self._batches), self._mesh)
      self._waiting.append(batch)
      self._next_step += 1
    return self._waiting.popleft()

  def follow(self, state: train_state.TrainState) -> None:
    """Takes what the state after a step asks for, without waiting for it."""
    if self._requests is None:
      return
    asked = self._take_row(self._requests(state.memory), -1)
    for array in asked.values():
      array.copy_to_host_async()
    self._pending.append(asked)

  def _ask(self) -> None:
    """Passes on what is known, and waits for what the next batch needs."""
    while self._pending:
      is_needed = self._next_asked <= self._next_step
      row = self._pending[0]
      if not is_needed and not all(a.is_ready() for a in row.values()):
        return
      self._pending.popleft()
      self._batches.ask(
        self._next_asked, {name: np.asarray(a) for name, a in row.items()}
      )
      self._next_asked += 1
