"""Kills a training run again and again; its result must not change.

  python scripts/soak.py --out=benchmarks/soak.jsonl

A small run on generated scenes goes through main.py once untouched, and once
with SIGKILLs and SIGTERMs at random moments: while a step is compiled, during a
step, an evaluation, the writing of a checkpoint, and whenever else. After each
the same command is started again. At the end every array of the last checkpoint
must be the same bit by bit, and so must be the scores.

Prints a line for each kill; exit code 1 if anything differs. Starts without
compiled programs take a minute, others seconds: 25 kills take about ten minutes
on 2 CPU cores.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

if not __package__:  # Run as a file.
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
from etils import epath

from data_prep import synthetic
from u2pl_jax.runtime import damage
from u2pl_jax.tools import benchmark

_REPOSITORY = pathlib.Path(__file__).parents[1]
_STEPS_PER_EPOCH = 8
_NUM_VAL = 1600  # An evaluation lasts long enough to be hit.
# Room for one kill: an evaluation and three checkpoints.
_STEPS_PER_KILL = 12
_SETTINGS = {
  "data.name": "soak",
  "data.split": "16",
  "data.batch_size_l": 4,
  "data.batch_size_u": 4,
  "data.crop_size": (33, 33),
  "data.num_workers": 1,
  "model.width": 4,
  "model.decoder_channels": 8,
  "model.low_level_channels": 4,
  "model.aspp_rates": (1,),
  "contrast.bank_capacity": 64,
  "contrast.bank_capacity_class0": 64,
  "train.log_every_steps": 1,
  "eval.crop_size": (33, 33),
  "eval.batch_size": 8,
  "eval.every_epochs": 1,
  "eval.num_images": 0,
  "checkpoint.every_steps": 5,
}
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
    lines: that it has printed.
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
      evaluates = step % _STEPS_PER_EPOCH == 0 or step == total
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
    start: just begun.
    plan: the moment.
    workdir: of the run.

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


def read_end(workdir: pathlib.Path) -> dict[str, object]:
  """All arrays of the last checkpoint by name, and the scores."""
  folder = epath.Path(workdir / "checkpoints")
  step = damage.steps(folder)[0]
  result = json.loads((workdir / "result.json").read_text())
  scores = {key: result[key] for key in ("step", "miou", "iou")}
  return scores | dict(damage.read_arrays(folder / str(step)))


def find_differences(
  left: dict[str, object], right: dict[str, object]
) -> list[str]:
  """Names of all that is not the same, bit by bit, in both."""

  def bits(value):
    if not isinstance(value, np.ndarray):
      return value
    return value.dtype, value.shape, value.tobytes()

  return [
    name
    for name in sorted(left.keys() | right.keys())
    if bits(left.get(name)) != bits(right.get(name))
  ]


@contextlib.contextmanager
def scratch_folder() -> Iterator[pathlib.Path]:
  """A folder that stays if something goes wrong, to be looked into."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix="soak_"))
  try:
    yield folder
  except BaseException:
    print(f"both runs are left in {folder}", file=sys.stderr)
    raise
  shutil.rmtree(folder)


class Soak:
  """Two runs of the same command, in folders of their own."""

  def __init__(self, folder: pathlib.Path, method: str | None, num_kills: int):
    """Prepares the data.

    Args:
      folder: of all that is written.
      method: that the runs train by; None for that of the config.
      num_kills: that the run is to have room for.
    """
    steps = _STEPS_PER_KILL * (num_kills + 1)
    self._epochs = -(-steps // _STEPS_PER_EPOCH)
    self._folder, self._method = folder, method
    with contextlib.redirect_stdout(None):
      synthetic.prepare(
        folder / "data",
        name=_SETTINGS["data.name"],
        num_labeled=16,
        num_unlabeled=_SETTINGS["data.batch_size_u"] * _STEPS_PER_EPOCH,
        num_val=_NUM_VAL,
        image_size=32,
      )

  @property
  def total_steps(self) -> int:
    return self._epochs * _STEPS_PER_EPOCH

  def _begin(self, name: str, *, cold: bool = False) -> Start:
    settings = _SETTINGS | {
      "data.data_dir": self._folder / "data",
      "train.epochs": self._epochs,
      "semi.supervised_epochs": self._epochs // 4,
    }
    command = [
      sys.executable,
      "main.py",
      "--config=configs/synthetic.py"
      + (f":method={self._method}" if self._method else ""),
      f"--workdir={self._folder / name}",
      *(f"--config.{key}={value}" for key, value in settings.items()),
    ]
    env = dict(os.environ)
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    if not cold:
      env["JAX_COMPILATION_CACHE_DIR"] = str(self._folder / "compiled")
      env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
    return Start(command, env)

  def finish(self, name: str) -> float:
    """Lets a run go to its end; returns the seconds it took."""
    with self._begin(name) as start:
      if start.wait():
        raise SoakError("main.py failed: " + " | ".join(start.lines))
      return round(start.seconds, 1)

  def interrupt(self, name: str, plan: Plan) -> dict[str, object]:
    """Starts a run and interrupts it; see the function of that name."""
    # What is to be killed while it compiles must have something to compile.
    with self._begin(name, cold=plan.phase == "compile") as start:
      return interrupt(start, plan, self._folder / name)

  def compare(self, *names: str) -> dict[str, object]:
    """What is the same in both runs; raises SoakError unless all is."""
    ends = [read_end(self._folder / name) for name in names]
    differing = find_differences(*ends)
    if differing:
      raise SoakError(
        f"{len(differing)} of {len(ends[0])} differ: {', '.join(differing[:5])}"
      )
    arrays = [n for n, v in ends[0].items() if isinstance(v, np.ndarray)]
    groups = collections.Counter(name.partition(".")[0] for name in arrays)
    return {"arrays": dict(groups), "miou": ends[0]["miou"]}


def run(
  kills: int, terms: int, seed: int, method: str | None, folder: pathlib.Path
) -> dict[str, object]:
  """Makes both runs, compares them and returns what to record.

  Raises:
    SoakError: the runs differ, or one did not do what it should.
  """
  began = time.monotonic()
  soak = Soak(folder, method, kills + terms)
  untouched_seconds = soak.finish("untouched")
  print(f"untouched: {soak.total_steps} steps in {untouched_seconds} s")
  events = []
  plans = make_plans(kills, terms, random.Random(seed), soak.total_steps)
  for plan in plans:
    event = soak.interrupt("killed", plan)
    events.append(event)
    print(
      f"{len(events)}/{len(plans)}: {event['signal']} during {event['phase']}"
      f" at step {event['step']}, {event['seconds']} s after the start",
      flush=True,
    )
  soak.finish("killed")
  same = soak.compare("untouched", "killed")
  return {
    "method": method,
    "seed": seed,
    "steps": soak.total_steps,
    "untouched_seconds": untouched_seconds,
    "seconds": round(time.monotonic() - began, 1),
    "verdict": "bit-identical",
    "kills": events,
  } | same


def main(argv: Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--kills", type=int, default=20, help="SIGKILLs")
  parser.add_argument("--terms", type=int, default=5, help="SIGTERMs")
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  parser.add_argument("--method", help="to train by; default: the config's")
  parser.add_argument("--out", help="file to append a line of JSON to")
  arguments = vars(parser.parse_args(argv))
  out = arguments.pop("out")
  try:
    with scratch_folder() as folder:
      record, code = run(**arguments, folder=folder), 0
    print(f"bit-identical after {len(record['kills'])} kills")
  except SoakError as error:
    print(f"error: {error}", file=sys.stderr)
    record, code = arguments | {"verdict": str(error)}, 1
  if out:
    benchmark.append_record(benchmark.describe_run("soak") | record, out)
  return code


if __name__ == "__main__":
  sys.exit(main())
