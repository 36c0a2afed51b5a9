import os
import signal
import socket
import subprocess
import sys
import threading

from u2pl_jax.runtime import preemption


def test_sigterm_asks_to_stop_and_the_old_handler_comes_back():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.catch_sigterm() as should_stop:
    assert not should_stop()
    signal.raise_signal(signal.SIGTERM)  # In this thread, hence at once.
    assert should_stop() and should_stop()
  assert signal.getsignal(signal.SIGTERM) is before


def test_the_old_handler_comes_back_after_an_error():
  before = signal.getsignal(signal.SIGTERM)
  try:
    with preemption.catch_sigterm():
      raise ValueError
  except ValueError:
    pass
  assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_leave_signals_alone():
  answers = []

  def ask():
    with preemption.catch_sigterm() as should_stop:
      answers.append((should_stop(), signal.getsignal(signal.SIGTERM)))

  thread = threading.Thread(target=ask)
  thread.start()
  thread.join()
  assert answers == [(False, signal.getsignal(signal.SIGTERM))]


# Steps until it is told to stop; one process is slower than the other.
_PROCESS = """
import sys, time
import jax
jax.distributed.initialize(
  "localhost:" + sys.argv[1], num_processes=2, process_id=int(sys.argv[2])
)
from u2pl_jax.runtime import preemption
with preemption.catch_sigterm() as should_stop:
  for step in range(1000):
    if should_stop():
      break
    print("step", step, flush=True)
    time.sleep(0.02 + 0.03 * int(sys.argv[2]))
print("stopped at", step, flush=True)
"""


def test_two_processes_stop_at_the_same_step_if_one_gets_the_signal():
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
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=60)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  last = [output.splitlines()[-1] for output in outputs]
  assert last[0] == last[1] and 5 < int(last[0].split()[-1]) < 999
  assert [process.returncode for process in processes] == [0, 0]
