"""Ctrl-C as a word to the program, never as an exception in it.

Python raises KeyboardInterrupt wherever the main thread happens to be, once
that runs Python code again: not before minutes of compiling are over, within
callbacks of XLA, where it crashes the process, and in hooks of the garbage
collector, where it is lost. Here Python's C handler writes to a socket, and a
thread that reads from it answers at once, whatever the main thread is doing.

Of the modules that take seconds to import this one needs none, so that
programs call `end_program` before they import them.
"""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGINT  # As shells tell it.
INTERRUPTED = "interrupted"
# Within which the streams take what is left in them, or lose it.
_FLUSH_SECONDS = 1.0

# What Ctrl-C does now: the last one is called, in a thread of its own.
_answers: list[Callable[[], None]] = []
_ends_program = False  # Whether `end_program` was called.
# Undoes that signals reach the answers; None while they do not.
_undo: Callable[[], None] | None = None


def say(line: str) -> None:
  """Writes a line to stderr, whatever another thread is printing there."""
  # A terminal shows ^C where the cursor is, maybe in a line of progress.
  start = "\n" if os.isatty(2) else ""
  with contextlib.suppress(OSError):
    os.write(2, f"{start}{line}\n".encode())


def end(line: str = INTERRUPTED) -> NoReturn:
  """Ends the process at once, from any thread, with a line and code 130."""
  # The main thread may hold a stream that nobody reads any more.
  flush = threading.Thread(target=_flush, daemon=True)
  flush.start()
  flush.join(_FLUSH_SECONDS)
  say(line)
  os._exit(EXIT_CODE)


def _flush() -> None:
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):
      stream.flush()


def end_program(line: str = INTERRUPTED) -> None:
  """Has Ctrl-C end the process at once, from here to its last moment.

  For programs, as the first thing they do; `answered_by` may say otherwise for
  a while.
  """
  global _ends_program
  _ends_program = True
  _answers.append(lambda: end(line))
  if _undo is None:
    _watch()
  # Called after what others registered: nothing is left to be interrupted, and
  # the thread that answers runs no more.
  atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def ends_program() -> bool:
  """Whether the process is ours to end, not that of a notebook or a test."""
  return _ends_program


def end_command() -> None:
  """Does `end_program` while `python -m` looks for a module of a package.

  For the packages of commands: they are imported before the commands are, whose
  imports take seconds. Any other import of them changes nothing.
  """
  if sys.argv[:1] == ["-m"]:
    end_program()


@contextlib.contextmanager
def answered_by(answer: Callable[[], None]) -> Iterator[None]:
  """Has each Ctrl-C call `answer`, in another thread; raises nothing.

  Afterwards it does what it did before. Does nothing in threads other than the
  main one, which get no signals.

  Args:
    answer: returns soon; the next Ctrl-C waits for it.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  is_first = _undo is None
  _answers.append(answer)
  if is_first:
    _watch()
  try:
    yield
  finally:
    if is_first:
      _undo()  # Before the answer is gone: what has come is answered.
    _answers.remove(answer)


def ending(line: str = INTERRUPTED) -> contextlib.AbstractContextManager[None]:
  """Has Ctrl-C end the process at once, with this line and code 130."""
  return answered_by(lambda: end(line))


@contextlib.contextmanager
def raising() -> Iterator[None]:
  """Has the first Ctrl-C raise KeyboardInterrupt and a second one end at once.

  For bodies without XLA that clean up after themselves.
  """
  received = threading.Event()

  def answer():
    if received.is_set():
      end()
    received.set()

  with answered_by(answer):
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
      yield
    finally:
      signal.signal(signal.SIGINT, before)


def _watch() -> None:
  """Has signals reach the answers, until `_undo` is called."""
  global _undo
  receiver, sender = socket.socketpair()
  sender.setblocking(False)
  old_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
  old_handler = signal.signal(signal.SIGINT, _ignore)
  signal.siginterrupt(signal.SIGINT, False)  # System calls are not cut short.
  # From here on at the latest, what comes waits in the socket.
  watcher = threading.Thread(target=_answer, args=(receiver,), daemon=True)
  watcher.start()

  def undo():
    global _undo
    _undo = None
    # None is a handler that Python did not install, which is lost.
    signal.signal(signal.SIGINT, old_handler or signal.SIG_DFL)
    signal.set_wakeup_fd(old_fd)
    sender.close()  # The watcher answers what has come, and ends.
    watcher.join()
    receiver.close()

  _undo = undo


def _ignore(number: int, frame: object) -> None:
  """The handler in Python; the one in C has written to the socket before."""


def _answer(receiver: socket.socket) -> None:
  while received := receiver.recv(64):
    for number in received:  # Of all signals that Python handles.
      if number == signal.SIGINT:
        _answers[-1]()


def _leave_to_child() -> None:
  """A forked child shares the socket, but answers for itself."""
  if _undo is not None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


os.register_at_fork(after_in_child=_leave_to_child)
