"""The runs of a study: which there are, running them, a record of each."""

import concurrent.futures
import json
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from u2pl_jax.report import curves as curves_lib
from u2pl_jax.runtime import workdir as workdir_lib
from u2pl_jax.tools import records as records_lib

_MAIN = pathlib.Path(__file__).parents[1] / "main.py"
_FROM_RESULT = (
  "method",
  "recipe",
  "seed",
  "step",
  "network",
  "protocol",
  "miou",
  "pixel_accuracy",
  "best_step",
  "best_miou",
  "seconds",
  "milliseconds_per_step",
  "iou",
)
# Folders that runs and their tables change.
_WRITTEN = ("results", "docs")
# Curves of what a method teaches, of which the record keeps the end.
_TAUGHT = "taught/"


class Run(NamedTuple):
  """One training.

  Attributes:
    study: name of the file that lists it.
    config: file and argument, as --config takes them.
    flags: further flags of main.py.
    seed: of the run.
  """

  study: str
  config: str
  flags: tuple[str, ...]
  seed: int

  @property
  def name(self) -> str:
    """Tells the run from the others, as a path."""
    stem = pathlib.PurePath(self.config.partition(":")[0]).stem
    words = (stem, self.config.partition(":")[2], *self.flags)
    setting = "-".join(re.sub(r"[^\w.=]+", "_", word) for word in words if word)
    return f"{setting}/seed{self.seed}"

  def command(self, workdir: object) -> list[str]:
    """What trains it, after the interpreter."""
    return [
      "main.py",
      f"--config={self.config}",
      f"--workdir={workdir}",
      f"--config.seed={self.seed}",
      *self.flags,
    ]


def read_study(path: pathlib.Path) -> list[Run]:
  """The runs of a study, in the order in which they shall be made.

  All settings are run with their first seed before any is with its second, so
  that an unfinished study can be read.

  Raises:
    ValueError: a line is not as it should be, or is there twice; names it.
    OSError: the file cannot be read.
  """
  rounds = {}
  for number, line in enumerate(path.read_text().splitlines(), 1):
    words = shlex.split(line, comments=True)
    if not words:
      continue
    config, *rest = words
    flags = tuple(word for word in rest if word.startswith("--"))
    seeds = " ".join(word for word in rest if word not in flags)
    if not re.fullmatch(r"seeds=\d+(,\d+)*", seeds):
      raise ValueError(
        f"{path}, line {number}: expected CONFIG:ARGUMENT seeds=0,1,2 and flags"
        f" that begin with --, not {line.strip()!r}"
      )
    for place, seed in enumerate(seeds.removeprefix("seeds=").split(",")):
      run = Run(path.stem, config, flags, int(seed))
      if any(run in others for others in rounds.values()):
        raise ValueError(f"{path}, line {number}: {run.name} is there twice")
      rounds.setdefault(place, []).append(run)
  if not rounds:
    raise ValueError(f"{path} lists no runs")
  return [run for place in sorted(rounds) for run in rounds[place]]


def run_of(record: Mapping[str, Any]) -> Run:
  """The run that a record is of."""
  flags = tuple(record["flags"])
  return Run(record["study"], record["config"], flags, record["seed"])


def run(
  runs: Sequence[Run],
  out: pathlib.Path,
  records: pathlib.Path,
  at_once: int = 1,
) -> int:
  """Makes the runs that have no record, and appends theirs.

  Args:
    runs: all of the study.
    out: folder of their workdirs; WORKDIR.log has what each of them printed.
    records: file of JSON lines.
    at_once: processes.

  Returns:
    0, or 1 if a run failed.
  """
  if at_once < 1:
    raise ValueError(f"--at_once={at_once}: must be 1 or more")
  done = {run_of(record) for record in records_lib.read(records)}
  missing = [one for one in runs if one not in done]
  print(f"{len(runs) - len(missing)} of {len(runs)} runs are done", flush=True)
  failed = 0
  with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    jobs = {pool.submit(_train, one, out): one for one in missing}
    try:
      for count, job in enumerate(concurrent.futures.as_completed(jobs), 1):
        one = jobs[job]
        try:
          record = job.result()
        except RuntimeError as error:
          failed += 1
          told = str(error)
        else:
          records_lib.append(record, records)
          told = f"mIoU {record['miou']:.2f} % in {record['seconds']:.0f} s"
        print(f"{count} of {len(missing)}: {one.name}: {told}", flush=True)
    except KeyboardInterrupt:
      pool.shutdown(cancel_futures=True)  # The runs save and end by themselves.
      raise
  return int(failed > 0)


def _train(one: Run, out: pathlib.Path) -> dict[str, Any]:
  workdir = out / one.study / one.name
  workdir.parent.mkdir(parents=True, exist_ok=True)
  log = workdir.with_name(workdir.name + ".log")
  print(f"starting {one.name}", flush=True)
  with log.open("a") as file:
    ended = subprocess.run(
      [sys.executable, *one.command(workdir.absolute())],
      cwd=_MAIN.parent,
      stdout=file,
      stderr=subprocess.STDOUT,
    )
  if ended.returncode or not (workdir / "result.json").exists():
    last = (log.read_text().splitlines() or ["it said nothing"])[-1]
    raise RuntimeError(f"failed ({ended.returncode}), see {log}: {last}")
  return make_record(one, workdir)


def make_record(one: Run, workdir: pathlib.Path) -> dict[str, Any]:
  """What a run that has ended came to.

  Args:
    one: the run.
    workdir: its folder.

  Returns:
    A dict for JSON; mIoU and IoU in percent after the last step and at its
    best, the mIoU of all evaluations, seconds of the whole run, and the mean of
    each `taught/` curve over the last tenth of the steps.
  """
  workdir = epath.Path(workdir)
  config = workdir_lib.read_config(workdir)
  result = json.loads((workdir / "result.json").read_text())
  curves = curves_lib.read_curves(workdir)
  evaluated = curves[f"{result['protocol']}/miou"]
  return {
    "study": one.study,
    "config": one.config,
    "flags": list(one.flags),
    "split": config["data"]["split"],
    **{key: result[key] for key in _FROM_RESULT},
    "curve": {
      "step": evaluated.steps.tolist(),
      "miou": [round(value, 2) for value in evaluated.values],
    },
    "taught": {
      tag.removeprefix(_TAUGHT): _mean_at_the_end(curve, result["step"])
      for tag, curve in sorted(curves.items())
      if tag.startswith(_TAUGHT)
    },
    "command": shlex.join(["python", *one.command("DIR")]),
    "commit": _commit(),
    **records_lib.describe_machine(),
  }


def _mean_at_the_end(curve: curves_lib.Curve, steps: int) -> float | None:
  values = curve.values[curve.steps > 0.9 * steps]
  values = values[np.isfinite(values)]
  return round(float(values.mean()), 4) if values.size else None


def _commit() -> str:
  """Of the code; "-dirty" if more of it has changed than what runs write."""
  commit = _ask_git("describe", "--always", "--exclude=*")
  but_for = (f":!{folder}" for folder in _WRITTEN)
  changed = _ask_git(
    "status", "--porcelain", "--untracked-files=no", "--", ".", *but_for
  )
  return commit + "-dirty" * bool(changed) or "unknown"


def _ask_git(*words: str) -> str:
  found = subprocess.run(
    ["git", *words], cwd=_MAIN.parent, capture_output=True, text=True
  )
  return found.stdout.strip()
