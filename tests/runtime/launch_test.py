"""In which order libraries start, and who gets the accelerators."""

import socket
import subprocess
import sys

import tensorflow as tf

from u2pl_jax.runtime import distributed, launch

# Runs main.py and prints what comes when. JAX's runtime is the real one, for
# one process; it refuses to start once there is a backend.
PROGRAM = """
import runpy, sys
import jax

def note(event):
  loaded = [name for name in ("tensorflow", "clu") if name in sys.modules]
  print("event", event, *loaded, flush=True)

class Finder:
  def find_spec(self, name, path=None, target=None):
    if name in ("tensorflow", "clu.metric_writers"):
      note(name)

def wrap(module, name):
  call = getattr(module, name)
  def noting(*args, **kwargs):
    note(name)
    return call(*args, **kwargs)
  setattr(module, name, noting)

sys.meta_path.insert(0, Finder())
wrap(jax.distributed, "initialize")
wrap(jax, "devices")
runpy.run_path("main.py", run_name="__main__")
"""


def test_jax_comes_before_tensorflow(tmp_path):
  with socket.create_server(("", 0)) as server:
    port = server.getsockname()[1]
  finished = subprocess.run(
    [
      sys.executable,
      "-c",
      PROGRAM,
      "--config=configs/camvid.py",
      f"--config.data.data_dir={tmp_path}",
      f"--workdir={tmp_path}/run",
      f"--coordinator_address=localhost:{port}",
      "--num_processes=1",
      "--process_id=0",
    ],
    capture_output=True,
    text=True,
    timeout=300,
  )
  lines = map(str.split, finished.stdout.splitlines())
  events = [words[1:] for words in lines if words[0] == "event"]
  assert events[:2] == [["initialize"], ["devices"]]
  names = [event[0] for event in events]
  assert names.index("tensorflow") < names.index("clu.metric_writers")


def test_tensorflow_gets_no_accelerator(monkeypatch):
  started, hidden = [], []
  monkeypatch.setattr(
    distributed, "start", lambda *given: started.append(given)
  )
  monkeypatch.setattr(
    tf.config, "set_visible_devices", lambda *given: hidden.append(given)
  )
  launch.start("host:1", 2, 1)
  assert started == [("host:1", 2, 1)]
  assert hidden == [([], "GPU"), ([], "TPU")]
