"""Every command of the published tables is taken, up to its traced steps.

The datasets are not there: as for `--dry_run --topology`, their classes and
numbers of images stand for them.
"""

import collections
import pathlib
import re
import shlex
import warnings

import pytest

from data_prep import published
from scripts import published_tables
from tests import run_flags
from u2pl_jax import dry_run, experiment
from u2pl_jax.runtime import workdir

pytestmark = run_flags.IGNORES

TABLES = published_tables.read(pathlib.Path("results/published.toml"))
NOWHERE = "no_such_folder"  # Where a prepared dataset is not found.


def parse(command):
  """The config of a command, nested."""
  _, _, *argv = shlex.split(command)
  flags = [*argv, f"--config.data.data_dir={NOWHERE}"]
  return run_flags.parse(None, flags).to_dict()


def find_programs():
  """Commands that differ in the split alone, which have the same steps.

  Yields:
    The commands, and whether their steps are traced. Of each method the first
    ones are; the others are with the slow tests.
  """
  programs = collections.defaultdict(list)
  for row in (row for table in TABLES for row in table.rows):
    programs[re.sub(r":\d+", ":SPLIT", row.command)].append(row.command)
  methods = set()
  for words, commands in programs.items():
    with warnings.catch_warnings(action="ignore"):  # See `run_flags.IGNORES`.
      method = parse(commands[0])["method"]
    name = re.search(r"configs/(\S+)", words)[1]
    yield pytest.param(commands, method not in methods, id=name)
    if method in methods:
      slow = pytest.mark.slow
      yield pytest.param(commands, True, id=f"{name}-traced", marks=slow)
    methods.add(method)


def without_split(config):
  flat = workdir.flatten(config)
  return {key: flat[key] for key in flat if key != "data.split"}


@pytest.mark.parametrize("commands, is_traced", list(find_programs()))
def test_published_commands_are_taken(commands, is_traced):
  configs = list(map(parse, commands))
  datasets = [published.stand_in(config["data"]) for config in configs]
  assert all(datasets)
  assert all(without_split(c) == without_split(configs[0]) for c in configs)
  exp = experiment.create_experiment(configs[0], opened=datasets[0])
  if is_traced:
    batch = exp.data.batch_shapes(exp.programs.supply)
    traced = dict(exp.programs.trace_steps(batch))
    assert list(traced) == [phase.name for phase in exp.programs.phases]


@pytest.mark.slow
def test_a_published_command_can_be_compiled(capsys):
  (command,) = (
    row.command
    for table in TABLES
    for row in table.rows
    if "unimatch_v2_voc.py:92,encoder=dinov2_vits14" in row.command
  )
  config = parse(command)
  dry_run.report(config, opened=published.stand_in(config["data"]))
  assert "step, compiled in" in capsys.readouterr().out
