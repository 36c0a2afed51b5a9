"""When and how a training run is killed; see `soak`."""

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

STEPS_PER_EPOCH = 8  # Of the runs, each with an evaluation at its end.
_REPOSITORY = pathlib.Path(__file__).parents[1]
# "any" is a time since the start at which no one looks what the run is doing.
_PHASES = ("compile", "checkpoint", "step", "evaluate", "any")
# About how long each lasts, in seconds: a kill comes within.
_SECONDS = {
  "compile": 6.0,
  "checkpoint": 0.3,
  "step": 0.02,
  "evaluate": 0.5,
  "any": 20.0,
}
_POLL_SECONDS = 0.002
_LONGEST_SECONDS = 600.0


class SoakError(Exception):
  """The run did not do what it should; one line says what."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """When a run is to be killed.

  Attributes:
    signal: SIGKILL or SIGTERM.
    phase: one of `_PHASES`.
    wait: how far into the phase, in [0, 1].
    last_step: the latest step to kill it at, in whatever phase.
  """

  signal: signal.Signals
  phase: str
  wait: float
  last_step: int


def make_plans(
  kills: int, terms: int, rng: random.Random, total_steps: int
) -> list[Plan]:
  """Plans for all kills, each phase about as often, in random order."""
  # A few of both signals find different phases.
  first_phase = {signal.SIGKILL: 0, signal.SIGTERM: 2}
  moments = [
    (each, _PHASES[(first_phase[each] + index) % len(_PHASES)])
    for each, count in ((signal.SIGKILL, kills), (signal.SIGTERM, terms))
    for index in range(count)
  ]
  rng.shuffle(moments)
  return [
    Plan(
      signal=each,
      phase=phase,
      wait=rng.random(),
      last_step=total_steps * (index + 1) // (len(moments) + 1),
    )
    for index, (each, phase) in enumerate(moments)
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
  def seconds(self) -> float:
    return time.monotonic() - self.began

  @property
  def has_ended(self) -> bool:
    return self._process.poll() is not None

  def send(self, number: signal.Signals) -> int:
    """Sends a signal; waits for the end and returns the exit code."""
    self._process.send_signal(number)
    return self.wait()

  def wait(self) -> int:
    """Waits for the end; returns the exit code, negative after a signal."""
    try:
      code = self._process.wait(_LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
      raise SoakError(f"main.py did not end in {_LONGEST_SECONDS} s") from None
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
      raise SoakError("main.py ended by itself: " + " | ".join(start.lines))
    phase, step = start.where(workdir)
    if phase == plan.phase or plan.phase == "any":
      since = since or time.monotonic()
    if since and time.monotonic() - since >= seconds:
      break
    if step >= plan.last_step and phase not in ("start", "compile"):
      break
    time.sleep(_POLL_SECONDS)
  elapsed = start.seconds
  code = start.send(plan.signal)
  if plan.signal == signal.SIGKILL:
    phase, step = start.where(workdir)
    expected = {-signal.SIGKILL}
  else:  # Before it is ready for the signal, it has nothing to lose.
    expected = {0, -signal.SIGTERM} if phase == "start" else {0}
    said = any(line.startswith("stopped by SIGTERM") for line in start.lines)
    if code == 0 and not said:
      raise SoakError(
        "main.py ended without a word: " + " | ".join(start.lines)
      )
  if code not in expected:
    raise SoakError(f"exit code {code}: " + " | ".join(start.lines))
  return {
    "signal": plan.signal.name,
    "phase": phase,
    "planned": plan.phase,
    "step": step,
    "seconds": round(elapsed, 2),
  }
