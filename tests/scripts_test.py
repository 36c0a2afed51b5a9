"""The launch scripts: that they parse, and say what main.py understands."""

import pathlib
import re
import runpy
import shutil
import subprocess

import pytest
from absl import flags

from u2pl_jax.runtime import workdir
from u2pl_jax.tools import runs

SCRIPTS = sorted(pathlib.Path("scripts").glob("*.sh"))


def test_there_is_one_for_each_launcher():
  names = {path.stem for path in SCRIPTS}
  assert names == {"gpus", "open_mpi", "slurm", "tpu_pod"}


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_a_script_parses(path):
  finished = subprocess.run(["bash", "-n", path], capture_output=True)
  assert finished.returncode == 0, finished.stderr
  assert path.stat().st_mode & 0o111


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_shellcheck_finds_nothing(path):
  finished = subprocess.run(["shellcheck", path], capture_output=True)
  assert finished.returncode == 0, finished.stdout


def run_with_fake(path, name, tmp_path):
  """Arguments with which a script calls the program `name`, one a line."""
  fake = tmp_path / name
  fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
  fake.chmod(0o755)
  finished = subprocess.run(
    ["bash", path, "--config.mesh=(2, 4)", "--dry_run"],
    env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    capture_output=True,
    text=True,
    check=True,
  )
  return finished.stdout.splitlines()


@pytest.mark.parametrize(
  "name, program",
  [("gpus", "python"), ("open_mpi", "mpirun"), ("slurm", "srun")],
)
def test_further_flags_reach_main_as_they_are(name, program, tmp_path):
  arguments = run_with_fake(f"scripts/{name}.sh", program, tmp_path)
  given = arguments[arguments.index("main.py") + 1 :]
  assert given[-2:] == ["--config.mesh=(2, 4)", "--dry_run"]
  check_flags(given)


def test_further_flags_reach_the_hosts_of_a_tpu_as_they_are(tmp_path):
  arguments = run_with_fake("scripts/tpu_pod.sh", "gcloud", tmp_path)
  (command,) = (word for word in arguments if word.startswith("--command="))
  finished = subprocess.run(
    ["bash", "-c", f"printf '%s\n' {command.partition('main.py ')[2]}"],
    capture_output=True,
    text=True,
    check=True,
  )
  given = finished.stdout.splitlines()
  assert given[-2:] == ["--config.mesh=(2, 4)", "--dry_run"]
  check_flags(given)


def check_flags(arguments):
  """Asserts that main.py has these flags, and the config these keys."""
  config = runpy.run_path("configs/voc_1464.py")["get_config"]()
  keys = workdir.flatten(config.to_dict())
  known = flags.FlagValues()
  runs.define_flags(None, ["main.py"], known)
  for argument in arguments:
    name = re.fullmatch(r"--([\w.]+)(=.*)?", argument)[1]
    if name.startswith("config."):
      assert name.removeprefix("config.") in keys
    else:
      assert name in known
