"""Keeps what libraries print off the screen.

TensorFlow begins with notes on its start-up. Orbax and TensorStore print a
traceback for each array and each thread of an error, which is raised all the
same, once, where it can be told in one line.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any


def silence_tensorflow() -> None:
  """To be called before TensorFlow is imported; what a user has set stays.

  It only reads images here, so that its faster, less exact kernels are off,
  too, which it would announce.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def silence_checkpoints() -> None:
  """Silences Orbax and TensorStore from now on; calling it twice is fine."""
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
