"""One of several processes of a test; `python -m tests.worker ROLE ...`."""

import sys
import time

import jax

from u2pl_jax.runtime import distributed, launch


def steps(address, count, index, data_dir, out, arg=""):
  """Makes 5 steps; process 0 writes losses and parameters."""
  launch.start(address, int(count), int(index))
  import numpy as np

  from tests import tiny_run

  losses, params = tiny_run.make_steps(data_dir, arg=arg)
  if jax.process_index() == 0:
    np.savez(out, losses, *jax.tree.leaves(params))


def meet(address, count, index):
  """Waits for the others, a few seconds."""
  distributed.start(address, int(count), int(index), start_seconds=4)
  print(f"{jax.process_count()} met")


def sleep(address, count, index):
  """Does nothing with the others for a long time."""
  distributed.start(address, int(count), int(index), heartbeat_seconds=5)
  jax.devices()
  print("sleeping", flush=True)
  time.sleep(600)


def fail(address, count, index):
  """Process 1 raises, while the others wait for it in a collective."""
  from jax.experimental import multihost_utils

  with distributed.ending_at_once():
    distributed.start(address, int(count), int(index))
    multihost_utils.sync_global_devices("all are here")
    if index == "1":
      raise ValueError("a damaged image")
    multihost_utils.sync_global_devices("never")


if __name__ == "__main__":
  globals()[sys.argv[1]](*sys.argv[2:])
