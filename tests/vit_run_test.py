"""Methods on a vision transformer with a DPT head, through the public loop."""

import jax
import numpy as np
import pytest

from tests import tiny_run, tiny_vit
from u2pl_jax import experiment, train
from u2pl_jax.experiment import inputs, states
from u2pl_jax.predict import trained
from u2pl_jax.runtime import sharding
from u2pl_jax.training import programs

SETTINGS = {
  "data.crop_size": (28, 28),
  "eval.crop_size": (28, 28),
  "optim.kind": "adamw",
  "optim.factors.head": 40.0,
  "optim.learning_rate": 1e-5,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


def make_config(folder, method, **changes):
  argument = f"method={method}"
  config = tiny_run.make_config(folder, argument, **(SETTINGS | changes))
  rep_channels = 0 if method == "suponly" else 6
  return config | tiny_vit.make_sections(
    **{"decoder.rep_channels": rep_channels}
  )


@pytest.mark.parametrize("method", ["suponly", "u2pl"])
def test_each_step_can_be_traced(folder, method):
  """The representation is half as large as the logits."""
  exp = experiment.create_experiment(make_config(folder, method))
  batch = exp.data.batch_shapes(exp.programs.supply)
  for _, traced in exp.programs.trace_steps(batch):
    assert "loss/total" in traced.out_info[1]


def run_steps(folder, devices, count=3):
  config = make_config(folder, "u2pl", **{"semi.supervised_epochs": 0})
  exp = experiment.create_experiment(config, devices=jax.devices()[:devices])
  state = states.create_state(exp)
  step = exp.programs.create_train_step()
  batches = inputs.train_batches(exp, 0)
  losses = []
  for index in range(count):
    batch = sharding.to_global(next(batches), exp.mesh)
    state, metrics = step(index, state, batch)
    losses.append(float(metrics["loss/total"]))
  return losses, state


@pytest.mark.slow
def test_one_device_and_eight_agree(folder):
  losses, state = run_steps(folder, 1)
  expected, state_of_8 = run_steps(folder, 8)
  np.testing.assert_allclose(losses, expected, rtol=1e-4)
  # Adam makes whole steps of gradients that are but rounding noise.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=3e-3),
    jax.device_get(state.params),
    jax.device_get(state_of_8.params),
  )


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["none", "encoder"])
def test_an_interrupted_run_ends_bit_for_bit_alike(
  folder, tmp_path, freeze, monkeypatch
):
  config = make_config(folder, "u2pl", **{"checkpoint.every_steps": 1})
  config["model"]["freeze"] = freeze
  train.train_and_evaluate(config, tmp_path / "whole")
  create = programs.Programs.create_train_step

  def create_interrupted(run):
    step = create(run)

    def interrupted(index, *arguments):
      if index == 3:
        raise RuntimeError("interrupted")
      return step(index, *arguments)

    return interrupted

  with monkeypatch.context() as patch:
    patch.setattr(programs.Programs, "create_train_step", create_interrupted)
    with pytest.raises(RuntimeError, match="interrupted"):
      train.train_and_evaluate(config, tmp_path / "parts")
  train.train_and_evaluate(config, tmp_path / "parts")
  for network in ("student", "teacher"):
    whole, parts = (
      trained.load_run(tmp_path / name, "last", network).variables
      for name in ("whole", "parts")
    )
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
