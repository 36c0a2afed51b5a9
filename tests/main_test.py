"""The command line, as a user meets it."""

import os
import subprocess
import sys

import pytest

CONFIG = "--config=configs/synthetic.py"


def run(*argv):
  return subprocess.run(
    [sys.executable, "main.py", *argv],
    capture_output=True,
    text=True,
    timeout=300,
    env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    | {"JAX_PLATFORMS": "cpu"},
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
  ],
)
def test_a_wrong_config_is_one_line(argv, words):
  assert_one_line_error(run(*argv), *words)


def test_a_missing_dataset_names_the_command_that_makes_it(tmp_path):
  finished = run(
    "--config=configs/camvid.py",
    f"--workdir={tmp_path}/run",
    f"--config.data.data_dir={tmp_path}",
  )
  assert_one_line_error(finished, "camvid", "python -m data_prep.folder")
  assert not (tmp_path / "run").exists()


def test_missing_workdir_and_wrong_mode_are_refused():
  assert run(CONFIG).returncode != 0
  wrong_mode = run(CONFIG, "--workdir=x", "--mode=dream")
  assert wrong_mode.returncode != 0
  assert "dream" in wrong_mode.stderr


def test_help_explains_the_flags():
  finished = run("--help")
  assert "python main.py --config=configs/synthetic.py" in finished.stdout
  assert "--mode" in finished.stdout
