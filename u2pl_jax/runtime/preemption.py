"""Ends a run between two steps when the machine is about to be taken away."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils


@contextlib.contextmanager
def catch_sigterm() -> Iterator[Callable[[], bool]]:
  """Lets SIGTERM end the training loop instead of the process.

  A single process remembers that it got the signal. With several processes,
  JAX's distributed runtime catches it in any of them and has all of them stop
  after the same step; its own handler stays.

  Yields:
    should_stop(), which all processes call alike between any two steps.
  """
  if jax.process_count() > 1:
    # JAX takes the signal for a question yet to come, of the number after the
    # last one asked; so questions are counted, which begin at 1 in every start.
    questions = itertools.count(1)
    yield lambda: multihost_utils.reached_preemption_sync_point(next(questions))
    return
  received = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield lambda: False  # Python hands signals to the main thread only.
    return
  before = signal.signal(signal.SIGTERM, lambda *_: received.set())
  try:
    yield received.is_set
  finally:
    signal.signal(signal.SIGTERM, before)
