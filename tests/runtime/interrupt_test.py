"""Ctrl-C is answered at once, wherever the main thread is."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from u2pl_jax.runtime import interrupt

# Shells start what runs in the background with the signal ignored.
_HEARD = "signal.signal(signal.SIGINT, signal.default_int_handler)"


def start(body):
  """A program of its own that has said "ready"; killed after a minute."""
  code = f"""
import os, signal, sys, threading, time
from u2pl_jax.runtime import interrupt
threading.Timer(60, os._exit, [99]).start()
{_HEARD}
def ready():
  print("ready", flush=True)
{body}
"""
  process = subprocess.Popen(
    [sys.executable, "-c", code],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
  )
  assert process.stdout.readline() == "ready\n"
  return process


def press(process):
  process.send_signal(signal.SIGINT)


def finish(process):
  """The exit code, stdout and stderr."""
  # Not communicate, which forgets what readline has read ahead.
  with process:
    return process.wait(70), process.stdout.read(), process.stderr.read()


def test_a_program_ends_at_once_with_a_line():
  process = start("""
interrupt.end_program()
ready()
print("left in the stream", end="")
time.sleep(50)
""")
  time.sleep(0.2)
  press(process)
  assert finish(process) == (130, "left in the stream", "interrupted\n")


# The main thread runs no Python code, as while a program is compiled, or is
# where exceptions are dropped, such as the hooks of the garbage collector.
_DROPS = """
import gc
gc.callbacks.append(lambda *_: time.sleep(50))
gc.collect()
"""


@pytest.mark.parametrize(
  "body", ["os.read(os.pipe()[0], 1)", _DROPS], ids=["waits", "drops"]
)
def test_no_place_loses_the_signal(body):
  process = start(f"interrupt.end_program()\nready()\n{body}")
  press(process)
  assert finish(process) == (130, "", "interrupted\n")


def test_a_stream_that_nobody_reads_does_not_keep_the_process():
  process = start("""
interrupt.end_program()
ready()
while True:
  print("x" * 65536)
""")
  time.sleep(0.3)  # Till the pipe is full.
  press(process)
  with process:
    assert process.wait(30) == 130


def test_each_press_is_answered_and_then_all_is_as_before():
  process = start("""
with interrupt.answered_by(lambda: interrupt.say("heard")):
  ready()
  time.sleep(1.0)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print(signal.set_wakeup_fd(-1), threading.active_count(), flush=True)
try:
  os.kill(os.getpid(), signal.SIGINT)
  time.sleep(50)
except KeyboardInterrupt:
  os._exit(7)
""")
  press(process)
  time.sleep(0.3)
  press(process)
  code, out, err = finish(process)
  assert (code, out, err) == (7, "True\n-1 2\n", "heard\nheard\n")


def test_what_came_at_the_last_moment_is_answered():
  heard = []
  before = signal.getsignal(signal.SIGINT)
  for _ in range(50):
    with interrupt.answered_by(lambda: heard.append(1)):
      signal.raise_signal(signal.SIGINT)
  assert len(heard) == 50
  assert signal.getsignal(signal.SIGINT) is before


def test_the_inner_answer_counts_and_the_outer_one_comes_back():
  heard = []
  with interrupt.answered_by(lambda: heard.append("outer")):
    with interrupt.answered_by(lambda: heard.append("inner")):
      signal.raise_signal(signal.SIGINT)
      deadline = time.monotonic() + 30
      while not heard and time.monotonic() < deadline:
        time.sleep(0.01)
    signal.raise_signal(signal.SIGINT)
  assert heard == ["inner", "outer"]


def test_other_signals_are_not_answered():
  heard = []
  before = signal.signal(signal.SIGUSR1, lambda *_: heard.append("handler"))
  try:
    with interrupt.answered_by(lambda: heard.append("answer")):
      signal.raise_signal(signal.SIGUSR1)
  finally:
    signal.signal(signal.SIGUSR1, before)
  assert heard == ["handler"]


def test_other_threads_leave_ctrl_c_alone():
  seen = []

  def look():
    with interrupt.ending(), interrupt.raising():
      seen.append(signal.getsignal(signal.SIGINT))

  thread = threading.Thread(target=look)
  thread.start()
  thread.join()
  assert seen == [signal.getsignal(signal.SIGINT)]


def test_a_body_that_cleans_up_is_left_by_an_exception_and_a_second_press():
  body = """
with interrupt.raising():
  try:
    ready()
    time.sleep(50)
  except KeyboardInterrupt:
    print("cleaning up", flush=True)
    %s
  print("clean", flush=True)
"""
  process = start(body % "" + "os._exit(0)")
  press(process)
  assert finish(process) == (0, "cleaning up\nclean\n", "")
  process = start(body % "time.sleep(50)")
  press(process)
  assert process.stdout.readline() == "cleaning up\n"
  press(process)
  assert finish(process) == (130, "", "interrupted\n")


def test_a_forked_child_is_none_of_the_parents():
  process = start("""
import warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of threads at each fork.
with interrupt.answered_by(lambda: interrupt.say("heard")):
  child = os.fork()
  if not child:
    time.sleep(50)
  ready()
  time.sleep(0.2)
  os.kill(child, signal.SIGINT)
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
  time.sleep(0.2)
os._exit(0)
""")
  assert finish(process) == (0, f"{-signal.SIGINT}\n", "")


@pytest.mark.parametrize("argv0, ends", [("-m", True), ("-c", False)])
def test_a_package_of_commands_ends_those_only(argv0, ends):
  code = f"""
import signal, sys
from u2pl_jax.runtime import interrupt
{_HEARD}
sys.argv[0] = {argv0!r}
interrupt.end_command()
print(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)
print(interrupt.ends_program())
"""
  environ = os.environ | {"PYTHONPATH": os.getcwd()}
  finished = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, env=environ
  )
  assert finished.stdout == f"{ends}\n{ends}\n", finished.stderr
