import logging
import sys
import types

import pytest

from u2pl_jax.runtime import quiet


@pytest.fixture
def printed(monkeypatch):
  """What reaches the hook that was there before."""
  printed = []
  monkeypatch.setattr(sys, "unraisablehook", printed.append)
  quiet.silence_checkpoints()
  quiet.silence_checkpoints()
  return printed


def log(path):
  logger = logging.getLogger("absl")
  record = logger.makeRecord("absl", logging.ERROR, path, 1, "text", (), None)
  return bool(logger.filter(record))


def test_what_orbax_logs_is_dropped_and_nothing_else(printed):
  assert not log("/usr/lib/site-packages/orbax/checkpoint/future.py")
  assert log("/usr/lib/site-packages/clu/metric_writers/utils.py")
  assert log("/home/user/u2pl_jax/main.py")


def raised(error):
  return types.SimpleNamespace(exc_value=error)


def test_late_answers_are_dropped_and_other_errors_told_once(printed):
  sys.unraisablehook(raised(RuntimeError("Event loop is closed")))
  other = raised(RuntimeError("something else"))
  sys.unraisablehook(other)
  assert printed == [other]
