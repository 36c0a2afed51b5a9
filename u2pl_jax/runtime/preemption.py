"""Ends a run between two steps when it is told to, without losing any.

SIGTERM says that the machine is about to be taken away, Ctrl-C that a person
wants the run to end.
"""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

from u2pl_jax.runtime import interrupt


class Stop:
  """Whether a run is to end between two steps; its answer to Ctrl-C.

  The first Ctrl-C asks it to end, a second one ends the process at once; so
  does the first one in a program that has nothing to lose yet.

  Attributes:
    cause: "SIGTERM" or "Ctrl-C", of a run that is asked to end.
    doing: what is finished before it ends, in words; set by the run.
    has_news: whether a step was made since the start; set by the run.
    is_saved: whether there is a checkpoint to go on from; set by the run.
  """

  def __init__(
    self, is_asked: Callable[[], bool], ask: Callable[[], None], *, waits: bool
  ):
    """Asked by nothing so far.

    Args:
      is_asked: whether to end, see `__call__`.
      ask: has `is_asked` return True, soon.
      waits: whether the process ends between two steps even before it has news.
    """
    self.cause = "SIGTERM"
    self.doing = "this step"
    self.has_news = False
    self.is_saved = False
    self._is_asked = is_asked
    self._ask = ask
    self._waits = waits
    self._is_pressed = False

  def __call__(self) -> bool:
    """Whether to end now; all processes ask alike between any two steps."""
    return self._is_asked()

  def on_ctrl_c(self) -> None:
    """Asks the run to end, or ends the process; called in another thread."""
    if self._is_pressed or not (self.has_news or self._waits):
      interrupt.end(
        "interrupted; the same command goes on from the last checkpoint"
        if self.is_saved
        else "interrupted; nothing was saved yet"
      )
    self._is_pressed, self.cause = True, "Ctrl-C"
    interrupt.say(f"stopping after {self.doing}; Ctrl-C again ends at once")
    self._ask()


@contextlib.contextmanager
def catch_signals() -> Iterator[Stop]:
  """Lets SIGTERM and Ctrl-C end the training loop instead of the process.

  A single process remembers that it got one. With several processes, JAX's
  distributed runtime catches SIGTERM in any of them and has all of them stop
  after the same step; its own handler stays, and gets Ctrl-C as SIGTERM.

  Yields:
    The `Stop` to ask; in threads other than the main one, which get no signals,
    it never says so.
  """
  if jax.process_count() > 1:
    # JAX takes the signal for a question yet to come, of the number after the
    # last one asked; so questions are counted, which begin at 1 in every start.
    questions = itertools.count(1)
    stop = Stop(
      lambda: multihost_utils.reached_preemption_sync_point(next(questions)),
      lambda: os.kill(os.getpid(), signal.SIGTERM),
      waits=True,  # Or the others would wait for this one in vain.
    )
    with interrupt.answered_by(stop.on_ctrl_c):
      yield stop
    return
  received = threading.Event()
  waits = not interrupt.ends_program()
  stop = Stop(received.is_set, received.set, waits=waits)
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  before = signal.signal(signal.SIGTERM, lambda *_: received.set())
  try:
    with interrupt.answered_by(stop.on_ctrl_c):
      yield stop
  finally:
    signal.signal(signal.SIGTERM, before)
