"""Kills a training run again and again; its result must not change.

  python scripts/soak.py --out=benchmarks/soak.jsonl
  python scripts/soak.py --kills=0 --terms=0 --ints=50

A small run on generated scenes goes through main.py once untouched, and once
with SIGKILLs, SIGTERMs and presses of Ctrl-C at random moments: during imports,
while a step is compiled, during a step, an evaluation, the writing of a
checkpoint, and whenever else. Some presses come twice. After each the same
command is started again. At the end every array of the last checkpoint must be
the same bit by bit, and so must be the scores.

After Ctrl-C a run has to end in time, with a line that says so, and with code 0
or 130; after SIGTERM with such a line and code 0, unless it was still starting.

The program prints a line for each kill; its exit code is 1 if anything differs.
Starts without compiled programs take a minute, others seconds: 25 kills take
about ten minutes on 2 CPU cores.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

if not __package__:  # Run as a file.
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
from etils import epath

from data_prep import synthetic
from scripts import interruptions
from u2pl_jax.runtime import command_line, damage
from u2pl_jax.runtime import workdir as workdir_lib
from u2pl_jax.tools import records

_NUM_VAL = 1600  # An evaluation lasts long enough to be hit.
# Room for one kill: an evaluation and three checkpoints. Many presses of Ctrl-C
# come before the first step of a start, and those after it save that step.
_STEPS_PER_KILL = 12
_STEPS_PER_INT = 8
# That a step with its share of an evaluation may take on a busy machine.
_SECONDS_PER_STEP = 3.0
_CONFIG = "configs/synthetic.py"
_SETTINGS = {
  "data.name": "soak",
  "data.split": "16",
  "data.batch_size_l": 4,
  "data.batch_size_u": 4,
  "data.crop_size": (33, 33),
  "data.num_workers": 1,
  "encoder.width": 4,
  "decoder.channels": 8,
  "decoder.low_level_channels": 4,
  "decoder.aspp_rates": (1,),
  # Only where the method has them.
  "contrast.bank_capacity": 64,
  "contrast.bank_capacity_class0": 64,
  "train.log_every_steps": 1,
  "eval.crop_size": (33, 33),
  "eval.batch_size": 8,
  "eval.every_epochs": 1,
  "eval.num_images": 0,
  "checkpoint.every_steps": 5,
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

  def __init__(
    self, folder: pathlib.Path, method: str | None, num_kills: int, ints: int
  ):
    """Prepares the data.

    Args:
      folder: the folder of all that is written.
      method: the method that the runs train by; None for that of the config.
      num_kills: how many kills the run has room for, ...
      ints: ... and how many presses of Ctrl-C.
    """
    steps = _STEPS_PER_KILL * (num_kills + 1) + _STEPS_PER_INT * ints
    self._epochs = -(-steps // interruptions.STEPS_PER_EPOCH)
    self._folder, self._method = folder, method
    with contextlib.redirect_stdout(None):
      synthetic.prepare(
        folder / "data",
        name=_SETTINGS["data.name"],
        num_labeled=16,
        num_unlabeled=_SETTINGS["data.batch_size_u"]
        * interruptions.STEPS_PER_EPOCH,
        num_val=_NUM_VAL,
        image_size=32,
      )

  @property
  def total_steps(self) -> int:
    return self._epochs * interruptions.STEPS_PER_EPOCH

  def _begin(self, name: str, *, cold: bool = False) -> interruptions.Start:
    settings = _SETTINGS | {
      "data.data_dir": self._folder / "data",
      "train.epochs": self._epochs,
      "semi.supervised_epochs": self._epochs // 4,
    }
    arg = f"method={self._method}" if self._method else ""
    config = runpy.run_path(_CONFIG)["get_config"](arg)
    known = workdir_lib.flatten(config.to_dict())
    command = [
      sys.executable,
      "main.py",
      f"--config={_CONFIG}:{arg}",
      f"--workdir={self._folder / name}",
      *(f"--config.{key}={settings[key]}" for key in settings if key in known),
    ]
    env = dict(os.environ)
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    if not cold:
      env["JAX_COMPILATION_CACHE_DIR"] = str(self._folder / "compiled")
      env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
    return interruptions.Start(command, env)

  def finish(self, name: str) -> float:
    """Lets a run go to its end; returns the seconds it took."""
    with self._begin(name) as start:
      if start.wait(600.0 + self.total_steps * _SECONDS_PER_STEP):
        raise interruptions.SoakError(f"main.py failed: {start.tail}")
      return round(start.seconds, 1)

  def interrupt(self, name: str, plan: interruptions.Plan) -> dict[str, object]:
    """Starts a run and interrupts it; see the function of that name."""
    # What is to be killed while it compiles must have something to compile.
    with self._begin(name, cold=plan.phase == "compile") as start:
      return interruptions.interrupt(start, plan, self._folder / name)

  def compare(self, *names: str) -> dict[str, object]:
    """What is the same in both runs; raises SoakError unless all is."""
    ends = [read_end(self._folder / name) for name in names]
    differing = find_differences(*ends)
    if differing:
      raise interruptions.SoakError(
        f"{len(differing)} of {len(ends[0])} differ: {', '.join(differing[:5])}"
      )
    arrays = [n for n, v in ends[0].items() if isinstance(v, np.ndarray)]
    groups = collections.Counter(name.partition(".")[0] for name in arrays)
    return {"arrays": dict(groups), "miou": ends[0]["miou"]}


def run(
  kills: int,
  terms: int,
  ints: int,
  seed: int,
  method: str | None,
  folder: pathlib.Path,
) -> dict[str, object]:
  """Makes both runs, compares them and returns what to record.

  Raises:
    SoakError: the runs differ, or one did not do what it should.
  """
  began = time.monotonic()
  soak = Soak(folder, method, kills + terms, ints)
  untouched_seconds = soak.finish("untouched")
  print(f"untouched: {soak.total_steps} steps in {untouched_seconds} s")
  events = []
  plans = interruptions.make_plans(
    kills, terms, random.Random(seed), soak.total_steps, ints
  )
  for plan in plans:
    event = soak.interrupt("killed", plan)
    events.append(event)
    print(
      f"{len(events)}/{len(plans)}: {event['signal']}"
      + ("" if event["again"] is None else " twice")
      + f" during {event['phase']} at step {event['step']},"
      f" {event['seconds']} s after the start: code {event['code']} after"
      f" {event['took']} s",
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
  parser.add_argument(
    "--kills", type=int, default=20, help="number of SIGKILLs"
  )
  parser.add_argument("--terms", type=int, default=5, help="number of SIGTERMs")
  parser.add_argument(
    "--ints", type=int, default=0, help="number of presses of Ctrl-C"
  )
  parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
  parser.add_argument(
    "--method", help="method of training; default: that of the config"
  )
  parser.add_argument("--out", help="file that a line of JSON is appended to")
  words = sys.argv[1:] if argv is None else argv
  arguments = vars(parser.parse_args(command_line.expand_home(words)))
  out = arguments.pop("out")
  try:
    with scratch_folder() as folder:
      record, code = run(**arguments, folder=folder), 0
    print(f"bit-identical after {len(record['kills'])} kills")
  except interruptions.SoakError as error:
    print(f"error: {error}", file=sys.stderr)
    record, code = arguments | {"verdict": str(error)}, 1
  if out:
    told = {"benchmark": "soak"} | records.describe_machine()
    records.append(told | record, out)
  return code


if __name__ == "__main__":
  sys.exit(main())
