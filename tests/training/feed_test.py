"""Batches are put ahead, and depend on what was asked for at a fixed lag."""

import collections
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.data import supply
from u2pl_jax.methods import method
from u2pl_jax.runtime import sharding
from u2pl_jax.training import feed, programs


class Batches:
  """Records what was asked for and drawn, in order."""

  def __init__(self):
    self.events = []
    self._drawn = 0

  def __next__(self):
    self.events.append(("draw", self._drawn))
    self._drawn += 1
    return {"step": np.array([self._drawn - 1], np.int32)}

  def ask(self, step, requests):
    self.events.append(("ask", step, int(requests["position_u2"][0])))


def open_feed(lag, is_requested=True, start_step=0):
  asks = method.Method(None, None, requests=lambda memory: memory)
  what = supply.Supply(unlabeled=True)
  if is_requested:
    what = supply.Supply(unlabeled=True, second="requested", lag=lag)
  phase = method.Phase("asking", 0, asks, what)
  mesh = sharding.create_mesh((1, 1), jax.devices()[:1])
  made = programs.Programs(None, None, (phase,), mesh, 0, 1)
  batches = Batches()
  state = make_state(lag, start_step)
  return batches, feed.Feed(batches, made, start_step, state)


def make_state(lag, updates):
  """Asks at the state after `updates` for 100 + step, of the next steps."""
  rows = 100 + updates + jnp.arange(lag + 1, dtype=jnp.int32)
  return types.SimpleNamespace(memory={"position_u2": rows[:, None]})


def run(lag, steps=5, start_step=0):
  batches, taken = open_feed(lag, start_step=start_step)
  seen = []
  for step in range(start_step, start_step + steps):
    seen.append(int(taken.take()["step"][0]))
    taken.follow(make_state(lag, step + 1))
  assert seen == list(range(steps))
  return batches.events


@pytest.mark.parametrize("lag", [0, 2, 5])
@pytest.mark.parametrize("start_step", [0, 7])
def test_each_step_is_asked_for_once_before_it_is_drawn(lag, start_step):
  events = run(lag, start_step=start_step)
  asked = [event[1:] for event in events if event[0] == "ask"]
  steps = range(start_step, start_step + len(asked))
  assert asked == [(step, 100 + step) for step in steps]
  known = start_step
  for event in events:
    known += event[0] == "ask"
    assert event[0] == "ask" or start_step + event[1] < known


def test_without_lag_nothing_is_drawn_ahead():
  assert run(0, steps=2) == [
    ("ask", 0, 100), ("draw", 0), ("ask", 1, 101), ("draw", 1)
  ]  # fmt: skip


def test_a_batch_is_put_ahead_while_nothing_is_asked_for():
  batches, taken = open_feed(0, is_requested=False)
  taken.take()
  taken.follow(None)
  assert batches.events == [("draw", 0), ("draw", 1)]


def test_with_enough_lag_no_unfinished_step_is_waited_for(monkeypatch):
  """When a batch is drawn, the newest state may still be computed."""
  batches, taken = open_feed(supply.MIN_LAG)
  waited = collections.Counter()
  usual = np.asarray
  for step in range(6):
    newest = taken._pending[-1] if taken._pending and step else None

    def watch(array, *rest, newest=newest):
      waited["newest"] += newest is not None and array is newest["position_u2"]
      return usual(array, *rest)

    for array in (newest or {}).values():
      # As of a step that still runs.
      monkeypatch.setattr(
        type(array), "is_ready", lambda self, a=array: self is not a
      )
    with monkeypatch.context() as patch:
      patch.setattr(feed.np, "asarray", watch)
      taken.take()
    monkeypatch.undo()
    taken.follow(make_state(supply.MIN_LAG, step + 1))
  assert waited["newest"] == 0
  assert ("draw", 6) in batches.events


def test_a_lag_with_which_steps_would_wait_is_refused():
  supply.check_lag("toy.lag", 0)
  supply.check_lag("toy.lag", supply.MIN_LAG)
  message = "toy.lag=1: batches are drawn 2 steps ahead; use 2 or more, or 0"
  with pytest.raises(ValueError, match=message):
    supply.check_lag("toy.lag", 1)
