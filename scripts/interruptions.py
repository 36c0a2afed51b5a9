"""When and how a training run is killed or interrupted; see `soak`."""

import dataclasses
import os
import pathlib
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from u2pl_jax.runtime import interrupt as interrupt_lib

STEPS_PER_EPOCH = 8  # Of the runs, each with an evaluation at its end.
_REPOSITORY = pathlib.Path(__file__).parents[1]
# "any" is a time since the start at which no one looks what the run is doing.
_PHASES = ("compile", "checkpoint", "step", "evaluate", "any")
# Ctrl-C comes during imports, too, where other signals just end the process.
_PHASES_OF_CTRL_C = ("start", *_PHASES)
# About how long each lasts, in seconds: a kill comes within.
_SECONDS = {
  "start": 8.0,
  "compile": 6.0,
  "checkpoint": 0.3,
  "step": 0.02,
  "evaluate": 0.5,
  "any": 20.0,
}
_POLL_SECONDS = 0.002
_LONGEST_SECONDS = 600.0
# A run ends within after Ctrl-C: it may have to compile its last step first.
_CTRL_C_SECONDS = 180.0
_SECOND_PRESS_SECONDS = 0.5  # It comes within after the first one, ...
_TWICE = 4  # ... of every so many.
_LINES_SHOWN = 20  # Of a run that did what it should not.
# What no run says, whatever ends it.
_CRASHES = (
  "Traceback", "KeyboardInterrupt", "Fatal", "Segmentation", "Exception ignored"
)  # fmt: skip


class SoakError(Exception):
  """The run did not do what it should; one line says what."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """When a run is to be killed.

  Attributes:
    signal: SIGKILL, SIGTERM or, as Ctrl-C sends, SIGINT.
    phase: one of `_PHASES`, or "start".
    wait: how far into the phase, in [0, 1].
    last_step: the latest step to kill it at, in whatever phase.
    again: seconds after which the signal is sent again; None for not at all.
  """

  signal: signal.Signals
  phase: str
  wait: float
  last_step: int
  again: float | None = None


def make_plans(
  kills: int, terms: int, rng: random.Random, total_steps: int, ints: int = 0
) -> list[Plan]:
  """Plans for all kills, each phase about as often, in random order.

  Args:
    kills, terms, ints: how many SIGKILLs, SIGTERMs and presses of Ctrl-C.
    rng: of the moments.
    total_steps: of the run.
  """
  # A few of both signals find different phases.
  first = {signal.SIGKILL: 0, signal.SIGTERM: 2}
  moments = [
    (each, _PHASES[(first[each] + index) % len(_PHASES)], None)
    for each, count in ((signal.SIGKILL, kills), (signal.SIGTERM, terms))
    for index in range(count)
  ]
  for index in range(ints):
    phase = _PHASES_OF_CTRL_C[index % len(_PHASES_OF_CTRL_C)]
    # Not always in the same phases.
    twice = (index + index // len(_PHASES_OF_CTRL_C)) % _TWICE == _TWICE - 1
    again = rng.random() * _SECOND_PRESS_SECONDS if twice else None
    moments.append((signal.SIGINT, phase, again))
  rng.shuffle(moments)
  return [
    Plan(
      signal=each,
      phase=phase,
      wait=rng.random(),
      last_step=total_steps * (index + 1) // (len(moments) + 1),
      again=again,
    )
    for index, (each, phase, again) in enumerate(moments)
  ]


class Start:
  """One start of main.py, and what it says."""

  def __init__(self, command: Sequence[str], env: dict[str, str]):
    self.began = time.monotonic()
    self.lines: list[str] = []
    self._process = subprocess.Popen(
      command,
      cwd=_REPOSITORY,
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def __enter__(self) -> "Start":
    return self

  def __exit__(self, *error: object) -> None:
    self._process.kill()
    self._process.wait()
    self._reader.join()
    self._process.stdout.close()

  def _read(self) -> None:
    for line in self._process.stdout:
      self.lines.append(line.rstrip())

  @property
  def tail(self) -> str:
    """The last lines that it has printed, in one."""
    return " | ".join(self.lines[-_LINES_SHOWN:])

  @property
  def seconds(self) -> float:
    return time.monotonic() - self.began

  @property
  def has_ended(self) -> bool:
    return self._process.poll() is not None

  @property
  def is_up(self) -> bool:
    """Whether main.py answers to Ctrl-C, in a second thread; Python does not.

    Only Linux tells.
    """
    try:
      return len(os.listdir(f"/proc/{self._process.pid}/task")) > 1
    except FileNotFoundError:
      return self.seconds > 1.0

  def send(
    self, number: signal.Signals, again: float | None, seconds: float
  ) -> int:
    """Sends a signal; waits for the end and returns the exit code.

    Args:
      number: the signal.
      again: seconds until it is sent once more; None for never.
      seconds: within which the process has to end.
    """
    self._process.send_signal(number)
    if again is not None:
      time.sleep(again)
      self._process.send_signal(number)
    return self.wait(seconds)

  def wait(self, seconds: float = _LONGEST_SECONDS) -> int:
    """Waits for the end; returns the exit code, negative after a signal."""
    try:
      code = self._process.wait(seconds)
    except subprocess.TimeoutExpired:
      raise SoakError(
        f"main.py did not end in {seconds} s: {self.tail}"
      ) from None
    self._reader.join()
    return code

  def where(self, workdir: pathlib.Path) -> tuple[str, int]:
    """What the run is doing, and the last step that it has told of."""
    return find_phase(list(self.lines), is_saving(workdir))


def is_saving(workdir: pathlib.Path) -> bool:
  """Whether the run is writing, or was killed while writing, a checkpoint."""
  folder = workdir / "checkpoints"
  try:
    return any(".orbax-checkpoint-tmp" in name for name in os.listdir(folder))
  except FileNotFoundError:
    return False


def find_phase(lines: Sequence[str], saving: bool) -> tuple[str, int]:
  """What a run was doing as it had told that much.

  Args:
    lines: the lines that it has printed.
    saving: whether an unfinished checkpoint lies in its folder.

  Returns:
    "start" or one of `_PHASES`, and the last step.
  """
  phase, step = "start", 0
  for line in lines:
    if resumed := re.fullmatch(r"resuming at step (\d+)", line):
      step = int(resumed[1])
    elif line.startswith("compiling the step"):
      phase = "compile"
    elif done := re.match(r"step (\d+)/(\d+) ", line):
      step, total = int(done[1]), int(done[2])
      evaluates = step % STEPS_PER_EPOCH == 0 or step == total
      phase = "evaluate" if evaluates else "step"
    elif re.match(r"step \d+: (student|teacher) mIoU", line):
      phase = "step"
  if saving and phase != "start":  # Then it would be left by the last start.
    phase = "checkpoint"
  return phase, step


def interrupt(
  start: Start, plan: Plan, workdir: pathlib.Path
) -> dict[str, object]:
  """Waits for the planned moment, sends the signal, checks how the run ends.

  Args:
    start: a start that has just begun.
    plan: the moment of the signal.
    workdir: the folder of the run.

  Returns:
    What to record of it.

  Raises:
    SoakError: the run ended by itself, or not as it should.
  """
  since = None
  seconds = _SECONDS[plan.phase] * plan.wait
  while True:
    if start.has_ended:
      start.wait()
      raise SoakError(f"main.py ended by itself: {start.tail}")
    phase, step = start.where(workdir)
    is_up = plan.signal != signal.SIGINT or start.is_up
    if is_up and (phase == plan.phase or plan.phase == "any"):
      since = since or time.monotonic()
    if since and time.monotonic() - since >= seconds:
      break
    if step >= plan.last_step and phase not in ("start", "compile"):
      break
    time.sleep(_POLL_SECONDS)
  elapsed = start.seconds
  limit = _CTRL_C_SECONDS if plan.signal == signal.SIGINT else _LONGEST_SECONDS
  code = start.send(plan.signal, plan.again, limit)
  took = start.seconds - elapsed
  if plan.signal == signal.SIGKILL:
    phase, step = start.where(workdir)
  problem = find_problem(start.lines, code, plan, phase)
  if problem:
    raise SoakError(
      f"{plan.signal.name} during {phase}: {problem}: {start.tail}"
    )
  return {
    "signal": plan.signal.name,
    "again": None if plan.again is None else round(plan.again, 2),
    "phase": phase,
    "planned": plan.phase,
    "step": step,
    "seconds": round(elapsed, 2),
    "took": round(took, 2),
    "code": code,
  }


def find_problem(
  lines: Sequence[str], code: int, plan: Plan, phase: str
) -> str | None:
  """What is wrong with the end of a run, in some words; None if nothing is.

  Args:
    lines: all that it has printed.
    code: its exit code, negative after a signal.
    plan: how it was ended.
    phase: what it was doing then.
  """

  def count(beginning):
    return sum(line.startswith(beginning) for line in lines)

  for line in lines:
    if any(words in line for words in _CRASHES):
      return "crashed"
  if plan.signal == signal.SIGKILL:
    expected = {-signal.SIGKILL}
  elif plan.signal == signal.SIGTERM:
    # Before it is ready for the signal, it has nothing to lose.
    expected = {0, -signal.SIGTERM} if phase == "start" else {0}
  else:
    expected = {0, interrupt_lib.EXIT_CODE}
  if code not in expected:
    return f"exit code {code}"
  by = "Ctrl-C" if plan.signal == signal.SIGINT else "SIGTERM"
  if code == 0 and count(f"stopped by {by}") != 1:
    return "ended without a word"
  if code == interrupt_lib.EXIT_CODE and count("interrupted") != 1:
    return "ended without a word"
  if plan.signal == signal.SIGINT and code == 0 and count("stopping") != 1:
    return "did not say at once that it was stopping"
  return None
