"""A side that measures nothing, for tests of taking turns; no imports count."""

import os
import sys
import time


def make(settings):
  if settings.get("fails_in") == "make":
    raise ValueError("the stub fails in make")
  return _Stub(settings)


class _Stub:
  images = 4

  def __init__(self, settings):
    self._settings, self._calls = settings, 0
    self._held = b"x" * (settings.get("mib", 0) * 2**20)

  def run(self, calls):
    self._calls += 1
    if self._settings.get("fails_in") == "run":
      raise ValueError("the stub fails in run")
    if self._settings.get("dies"):
      os._exit(7)
    if self._settings.get("prints"):
      print(self._settings["prints"])
    with open(self._settings["log"], "a") as log:
      log.write(self._settings["name"])
    self._held = None
    time.sleep(0.1 if self._calls == 1 else 0.01 * calls)

  def describe(self):
    return {"stub": self._settings["name"], "modules": sorted(sys.modules)}
