"""One run of main.py that is stopped, refused and gone on with, as users do."""

import json
import os
import signal
import subprocess
import sys

import jax
import pytest

from tests import tiny_run

CHANGES = {
  "train.epochs": 10000,
  "train.log_every_steps": 1,
  "eval.every_epochs": 10000,
}


class Run:
  """A start of main.py in a process of its own."""

  def __init__(self, *argv):
    environ = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    self.process = subprocess.Popen(
      [sys.executable, "main.py", *argv],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environ,
    )
    self.lines = []

  def read_until(self, words):
    """Reads on, to a line that holds the words."""
    for line in self.process.stdout:
      self.lines.append(line.rstrip())
      if words in line:
        return
    raise AssertionError(self.finish())

  def press(self):
    self.process.send_signal(signal.SIGINT)

  def finish(self, seconds=120):
    """Its exit code, lines of stdout, and of stderr."""
    with self.process as process:
      out, err = process.stdout.read(), process.stderr.read()
      return process.wait(seconds), out.splitlines(), err.splitlines()


@pytest.fixture
def start(tmp_path):
  """start(*flags) starts main.py for one run of 20,000 steps."""
  data_dir = tiny_run.make_dataset(tmp_path / "data")
  flags = tiny_run.make_flags(data_dir, "suponly", **CHANGES)
  started = []

  def call(*more, workdir=tmp_path / "run"):
    started.append(Run(*flags, f"--workdir={workdir}", *more))
    return started[-1]

  yield call
  for run in started:
    run.process.kill()
    with run.process:
      pass


def assert_refused(run, *words):
  """Ends with code 1 and one line."""
  code, _, lines = run.finish()
  errors = [line for line in lines if line.startswith("error: ")]
  assert code == 1 and len(errors) == 1, lines
  assert not any("Traceback" in line for line in lines)
  for each in words:
    assert each in errors[0]


@pytest.mark.slow
def test_a_run_is_stopped_refused_and_gone_on_with(start, tmp_path):
  workdir = tmp_path / "run"
  # Nothing to lose yet, and nothing that binds.
  run = start("--config.seed=1")
  run.read_until("compiling the step at step 0")
  run.press()
  code, _, lines = run.finish(20)
  assert (code, lines[-1]) == (130, "interrupted; nothing was saved yet")
  assert json.loads((workdir / "config.json").read_text())["seed"] == 1
  assert_refused(start("--config.seed=1", "--mode=eval"), "none was saved yet")

  run = start()
  run.read_until("step 2/")
  holder = f"in use by another run, process {run.process.pid} on "
  assert_refused(start(), str(workdir), holder)
  run.press()
  code, lines, said = run.finish()
  assert code == 0
  assert lines[-1].startswith("stopped by Ctrl-C at step ")
  assert lines[-1].endswith(
    f" of 20000, saved in {workdir}; the same command goes on from there"
  )
  assert "stopping after this step; Ctrl-C again ends at once" in said
  step = lines[-1].split()[5]

  assert_refused(
    start("--mode=eval"), "no best checkpoint", "--checkpoint=last"
  )
  assert_refused(start("--config.seed=1"), "seed=0, not 1")

  run = start()
  run.read_until(f"resuming at step {step}")
  run.read_until(f"step {int(step) + 1}/")
  run.press()
  run.press()
  code, _, lines = run.finish(20)
  ended = [line for line in lines if line.startswith("interrupted")]
  assert code in (0, 130) and len(ended) == (code == 130)

  run = start("--mode=eval", "--checkpoint=last")
  code, lines, _ = run.finish()
  assert code == 0 and "student mIoU" in lines[0]


def test_a_program_is_ended_while_it_imports(tmp_path, start):
  run = start(workdir=tmp_path / "none")
  while len(os.listdir(f"/proc/{run.process.pid}/task")) == 1:
    assert run.process.poll() is None  # Python itself is starting.
  run.press()
  assert run.finish(20) == (130, [], ["interrupted"])
  assert not (tmp_path / "none").exists()
