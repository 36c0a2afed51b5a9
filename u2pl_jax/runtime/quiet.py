"""Keeps what Orbax and TensorStore print about errors off the screen.

The errors themselves are raised all the same, once, where they can be told in
one line; beside that come a traceback for each array and each thread.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any


def silence_checkpoints() -> None:
  """From now on, for this process; more than once is as good as once."""
  logging.getLogger("absl").addFilter(_is_of_others)
  if not hasattr(sys.unraisablehook, "is_of_others"):
    sys.unraisablehook = _unless_late(sys.unraisablehook)


def _is_of_others(record: logging.LogRecord) -> bool:
  return "/orbax/checkpoint/" not in record.pathname


def _unless_late(print_unraisable: Callable[[Any], None]):
  """TensorStore's threads answer a loop that has ended with the first error."""

  def hook(unraisable):
    error = unraisable.exc_value
    is_late = isinstance(error, RuntimeError) and "loop is closed" in str(error)
    if not is_late:
      print_unraisable(unraisable)

  hook.is_of_others = True
  return hook
