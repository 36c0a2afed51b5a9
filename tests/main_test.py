"""The command line, as a user meets it."""

import os
import subprocess
import sys

import pytest

from tests import tiny_run

CONFIG = "--config=configs/synthetic.py"


def run(*argv):
  return subprocess.run(
    [sys.executable, "main.py", *argv],
    capture_output=True,
    text=True,
    timeout=300,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
  )


def assert_one_line_error(finished, *words):
  assert finished.returncode != 0
  errors = [line for line in finished.stderr.splitlines() if "error" in line]
  assert len(errors) == 1, finished.stderr
  assert "Traceback" not in finished.stderr
  for word in words:
    assert word in errors[0]


@pytest.mark.parametrize(
  "argv, words",
  [
    (
      [CONFIG, "--workdir=x", "--config.optim.learning_rat=1"],
      ["'optim.learning_rat'", "'optim.learning_rate'"],
    ),
    (["--config=configs/camvid.py:1_3", "--workdir=x"], ["1_3", "1_8"]),
    (["--config=camvit", "--workdir=x"], ["--config=camvit", "camvid,"]),
    ([], ["python main.py --config=synthetic --workdir=runs/synthetic"]),
    ([CONFIG], ["--workdir=DIR is missing"]),
    ([CONFIG, "--workdir=x", "--profile=5"], ["--profile=5", "START:STOP"]),
    ([CONFIG, "--workdir=x", "--num_processes=2"], ["--coordinator_address"]),
  ],
)
def test_a_wrong_command_line_is_one_line(argv, words):
  assert_one_line_error(run(*argv), *words)


def test_a_missing_dataset_names_the_command_that_makes_it(tmp_path):
  finished = run(
    "--config=configs/camvid.py",
    f"--workdir={tmp_path}/run",
    f"--config.data.data_dir={tmp_path}",
  )
  assert_one_line_error(finished, "camvid", "python -m data_prep.folder")
  assert not (tmp_path / "run").exists()


def test_a_dry_run_describes_the_run_and_writes_nothing(tmp_path):
  data_dir = tiny_run.make_dataset(tmp_path / "data")
  before = sorted(tmp_path.rglob("*"))
  finished = run(*tiny_run.make_flags(data_dir, "suponly"), "--dry_run")
  assert finished.returncode == 0, finished.stderr
  lines = finished.stdout.splitlines()
  assert lines[0] == "devices     1 x cpu (data 1, fsdp 1) of 1 process(es)"
  assert "supervised step, compiled in" in finished.stdout
  assert lines[-1] == "  sends     nothing"
  assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_makes_no_dataset(tmp_path):
  finished = run(CONFIG, f"--config.data.data_dir={tmp_path}", "--dry_run")
  assert_one_line_error(finished, "python -m data_prep.synthetic")
  assert not list(tmp_path.iterdir())


def test_a_wrong_mode_is_refused():
  wrong_mode = run(CONFIG, "--workdir=x", "--mode=dream")
  assert wrong_mode.returncode != 0
  assert "dream" in wrong_mode.stderr


def test_help_explains_the_flags():
  finished = run("--help")
  assert finished.returncode == 0
  assert "python main.py --config=configs/synthetic.py" in finished.stdout
  for flag in ("--mode", "--profile", "--[no]dry_run", "--num_processes"):
    assert flag in finished.stdout
