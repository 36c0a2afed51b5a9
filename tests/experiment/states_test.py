"""The state of a run: at its start, and of a checkpoint."""

import pytest

from tests import finished_run, saved_state
from u2pl_jax import experiment
from u2pl_jax.experiment import states


def test_a_checkpoint_is_read_with_its_phase_and_progress(
  make_config, tmp_path
):
  config = make_config()
  workdir = saved_state.write_run(tmp_path / "run", config, 3)
  exp = experiment.create_experiment(config)
  saved = states.read_checkpoint(exp, workdir, "last")
  assert (saved.step, saved.best) == (3, (3, 20.0))
  assert saved.phase is exp.programs.phases[0]
  assert saved.progress["data"] == exp.fingerprint
  expected = states.create_state(exp)
  assert int(saved.state.step) == 3
  finished_run.assert_bit_identical(saved.state.params, expected.params)
  assert saved.state.step.sharding.mesh == exp.mesh


def test_a_run_without_the_checkpoint_is_named(make_config, tmp_path):
  exp = experiment.create_experiment(make_config())
  with pytest.raises(FileNotFoundError, match="checkpoints holds no best"):
    states.read_checkpoint(exp, tmp_path, "best")
