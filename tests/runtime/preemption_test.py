import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from u2pl_jax.runtime import preemption


def test_sigterm_asks_to_stop_and_the_old_handler_comes_back():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.catch_signals() as stop:
    assert not stop()
    signal.raise_signal(signal.SIGTERM)  # In this thread, hence at once.
    assert stop() and stop()
  assert signal.getsignal(signal.SIGTERM) is before


def test_the_old_handler_comes_back_after_an_error():
  before = signal.getsignal(signal.SIGTERM)
  try:
    with preemption.catch_signals():
      raise ValueError
  except ValueError:
    pass
  assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_leave_signals_alone():
  answers = []

  def ask():
    with preemption.catch_signals() as stop:
      answers.append((stop(), signal.getsignal(signal.SIGTERM)))

  thread = threading.Thread(target=ask)
  thread.start()
  thread.join()
  assert answers == [(False, signal.getsignal(signal.SIGTERM))]


# A run as `train` makes it, of which each line of output is one of its moments.
_RUN = """
import os, sys, time
from u2pl_jax.runtime import interrupt, preemption
if "library" not in sys.argv:
  interrupt.end_program()
with preemption.catch_signals() as stop:
  stop.is_saved = "saved" in sys.argv
  print("compiling", flush=True)
  time.sleep(50 if "compiles" in sys.argv else 0.5)
  stop.has_news = True
  print("step", flush=True)
  while not stop():
    time.sleep(0.01)
  print("stopped by", stop.cause, flush=True)
  print("saving", flush=True)
  time.sleep(50 if "saves" in sys.argv else 0)
print("done")
"""


def run_until(line, *argv):
  """Starts the run, waits until it has printed a line, and presses Ctrl-C."""
  process = subprocess.Popen(
    [sys.executable, "-c", _RUN, *argv],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  read_until(process, line)
  process.send_signal(signal.SIGINT)
  return process


def read_until(process, line):
  while (read := process.stdout.readline()) != f"{line}\n":
    assert read, process.stderr.read()


def finish(process):
  """Its exit code, the rest of stdout, and stderr."""
  with process:
    return process.wait(60), process.stdout.read(), process.stderr.read()


STOPPING = "stopping after this step; Ctrl-C again ends at once\n"
GOES_ON = "interrupted; the same command goes on from the last checkpoint\n"


def test_ctrl_c_asks_to_stop_once_there_is_something_to_lose():
  assert finish(run_until("step")) == (
    0,
    "stopped by Ctrl-C\nsaving\ndone\n",
    STOPPING,
  )


@pytest.mark.parametrize(
  "argv, line",
  [([], "interrupted; nothing was saved yet\n"), (["saved"], GOES_ON)],
)
def test_ctrl_c_ends_a_run_at_once_that_compiles_its_first_step(argv, line):
  process = run_until("compiling", "compiles", *argv)
  assert finish(process) == (130, "", line)


def test_ctrl_c_does_not_end_what_is_no_program_of_ours():
  assert finish(run_until("compiling", "library")) == (
    0,
    "step\nstopped by Ctrl-C\nsaving\ndone\n",
    STOPPING,
  )


def test_a_second_ctrl_c_ends_the_run_at_once():
  process = run_until("step", "saved", "saves")
  read_until(process, "saving")
  process.send_signal(signal.SIGINT)
  assert finish(process) == (130, "", STOPPING + GOES_ON)


# Steps until it is told to stop; one process is slower than the other.
_PROCESS = """
import sys, time
import jax
jax.distributed.initialize(
  "localhost:" + sys.argv[1], num_processes=2, process_id=int(sys.argv[2])
)
from u2pl_jax.runtime import preemption
with preemption.catch_signals() as stop:
  for step in range(1000):
    if stop():
      break
    print("step", step, flush=True)
    time.sleep(0.02 + 0.03 * int(sys.argv[2]))
print("stopped at", step, flush=True)
"""


@pytest.mark.parametrize(
  "receivers, number",
  [
    ([1], signal.SIGTERM),
    ([1], signal.SIGINT),
    ([0, 1], signal.SIGINT),  # As from a terminal.
  ],
)
def test_two_processes_stop_at_the_same_step(receivers, number):
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", _PROCESS, str(port), str(index)],
      stdout=subprocess.PIPE,
      text=True,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    for index in range(2)
  ]
  try:
    for line in processes[1].stdout:
      if line == "step 5\n":
        break
    for index in receivers:
      processes[index].send_signal(number)
    outputs = [process.communicate(timeout=60)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  last = [output.splitlines()[-1] for output in outputs]
  assert last[0] == last[1] and 5 < int(last[0].split()[-1]) < 999
  assert [process.returncode for process in processes] == [0, 0]
