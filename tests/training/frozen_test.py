"""A frozen encoder: nothing moves it, keeps state for it, or copies it."""

import jax
import numpy as np
import pytest

from tests import saved_progress, tiny_run, tiny_vit
from u2pl_jax import experiment
from u2pl_jax.experiment import inputs, states
from u2pl_jax.methods import method as method_lib
from u2pl_jax.runtime import checkpoint, flops, sharding
from u2pl_jax.training import frozen

SETTINGS = {
  "data.crop_size": (28, 28),
  "eval.crop_size": (28, 28),
  "train.epochs": 1,
  "optim.kind": "adamw",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


def make_config(folder, freeze, **changes):
  argument = "method=tests.toy_method"
  config = tiny_run.make_config(folder, argument, **(SETTINGS | changes))
  return config | tiny_vit.make_sections(**{"model.freeze": freeze})


def make_experiment(folder, freeze, **changes):
  config = make_config(folder, freeze, **changes)
  # Programs for one device compile in a fraction of the time.
  return experiment.create_experiment(config, devices=jax.devices()[:1])


def run(folder, freeze, count=1, **changes):
  exp = make_experiment(folder, freeze, **changes)
  state = states.create_state(exp)
  start = jax.tree.map(np.asarray, state.student)
  step = exp.programs.create_train_step()
  batches = inputs.train_batches(exp, 0)
  for index in range(count):
    batch = sharding.to_global(next(batches), exp.mesh)
    state, metrics = step(index, state, batch)
  return start, state, metrics


@pytest.mark.slow  # Compiles two steps.
def test_it_stays_and_the_rest_learns_as_beside_an_encoder_without_a_rate(
  folder,
):
  start, state, metrics = run(folder, "encoder")
  still = {"optim.factors.encoder": 0.0}
  _, expected, expected_metrics = run(folder, "none", **still)
  jax.tree.map(
    np.testing.assert_array_equal,
    state.student["params"]["encoder"],
    start["params"]["encoder"],
  )
  for name in ("student", "teacher"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6),
      state.network(name),
      expected.network(name),
    )
  assert float(metrics["loss/total"]) == pytest.approx(
    float(expected_metrics["loss/total"]), rel=1e-5
  )
  moved = state.params["decoder"]["projects_0"]["kernel"]
  assert np.any(moved != start["params"]["decoder"]["projects_0"]["kernel"])


def test_neither_optimizer_nor_teacher_hold_it(folder):
  exp = make_experiment(folder, "encoder")
  state = exp.programs.abstract_state(exp.programs.phases[-1])
  teacher = method_lib.teacher_of(state.memory)
  assert state.params.keys() == teacher["params"].keys() == {"decoder"}
  assert state.frozen["params"].keys() == {"encoder"}
  paths = jax.tree_util.tree_leaves_with_path(state.opt_state)
  # But for the number of steps, which each group counts.
  assert not [
    path
    for path, leaf in paths
    if "'encoder'" in jax.tree_util.keystr(path) and leaf.ndim
  ]
  whole = exp.model.variable_shapes()["params"]
  assert state.network("teacher")["params"].keys() == whole.keys()


def count_flops(exp):
  batch = exp.data.batch_shapes(exp.programs.supply)
  ((_, traced),) = exp.programs.trace_steps(batch)
  return flops.count_jaxpr(traced.jaxpr).total()


def test_no_backward_pass_goes_through_it(folder):
  """Which costs two of three passes of the student's."""
  exp = make_experiment(folder, "encoder")
  images = jax.ShapeDtypeStruct((16, 28, 28, 3), np.float32)
  forward = flops.count(
    lambda v, x: exp.model.apply(v, x, train=True, method="encode"),
    exp.model.variable_shapes(),
    images,
  )
  saved = count_flops(make_experiment(folder, "none")) - count_flops(exp)
  # Images have no gradient, which saves the first product of the backward pass.
  assert 1.6 * forward < saved < 2 * forward


def test_networks_of_a_checkpoint_are_whole(folder, tmp_path):
  exp = make_experiment(folder, "encoder")
  state = states.create_state(exp)
  with checkpoint.open_manager(tmp_path, keep_last=1) as manager:
    checkpoint.save(manager, 1, state, saved_progress.make(1), 50.0)
  with checkpoint.open_manager(tmp_path, keep_last=1) as manager:
    for name in ("student", "teacher"):
      jax.tree.map(
        np.testing.assert_array_equal,
        checkpoint.restore_variables(manager, 1, teacher=name == "teacher"),
        dict(state.network(name)),
      )


def test_parts_come_apart_and_together_again():
  variables = {"params": {"a": 1, "b": 2}, "batch_stats": {"a": 3}}
  held, apart = frozen.split(variables, ("a",))
  assert held == {"params": {"b": 2}, "batch_stats": {}}
  assert apart == {"params": {"a": 1}, "batch_stats": {"a": 3}}
  assert frozen.join(held, apart) == variables
  assert frozen.split(variables, ()) == (variables, None)
  assert frozen.join(variables, None) == variables


def test_another_part_is_refused(folder):
  with pytest.raises(ValueError, match="model.freeze='backbone': expected one"):
    make_experiment(folder, "backbone")
