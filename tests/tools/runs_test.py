"""The commands that train and evaluate: their flags, their help."""

import os
import subprocess
import sys

import pytest
from absl import flags

from u2pl_jax.tools import runs

BOTH = {"config", "workdir", "num_processes", "process_id"}
TRAINING = {"profile", "dry_run", "topology"}
EVALUATION = {"checkpoint", "state", "save_predictions", "weights"}


@pytest.mark.parametrize(
  "mode, has, lacks",
  [
    ("train", BOTH | TRAINING, EVALUATION | {"mode"}),
    ("eval", BOTH | EVALUATION, TRAINING | {"mode"}),
    (None, BOTH | TRAINING | EVALUATION | {"mode"}, set()),
  ],
)
def test_a_command_has_the_flags_of_its_mode(mode, has, lacks):
  values = flags.FlagValues()
  runs.define_flags(mode, ["program"], values)
  assert has <= set(values) and not lacks & set(values)


def start(*words):
  """u2pl-jax with these words, as its script calls it."""
  code = (
    "import sys; from u2pl_jax.tools import commands;"
    "sys.argv[0] = '/somewhere/u2pl-jax'; sys.exit(commands.main())"
  )
  return subprocess.run(
    [sys.executable, "-c", code, *words],
    capture_output=True,
    text=True,
    timeout=300,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
  )


def test_help_is_of_the_command_alone():
  finished = start("evaluate", "--help")
  assert finished.returncode == 0, finished.stderr
  lines = finished.stdout.splitlines()
  assert lines[0] == "Evaluates a checkpoint of a run."
  assert "  u2pl-jax evaluate --config=synthetic " in finished.stdout
  assert "--save_predictions" in finished.stdout
  for word in ("--dry_run", "main.py", "absl", "--mode"):
    assert word not in finished.stdout
  assert "configs: camvid, " in finished.stdout
  assert len(lines) < 40 and max(map(len, lines)) <= 80


@pytest.mark.parametrize(
  "words, line",
  [
    (["train"], "e.g. u2pl-jax train --config=synthetic --workdir"),
    (["evaluate", "--config=synthetic", "--dry_run"], "'dry_run'"),
  ],
)
def test_a_mistake_is_one_line(words, line):
  finished = start(*words)
  assert finished.returncode == 1
  (told,) = finished.stderr.splitlines()
  assert told.startswith("error: ") and line in told
