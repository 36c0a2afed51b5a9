"""The parts that a config makes, on eight devices."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import tiny
from u2pl_jax import experiment
from u2pl_jax.data import datasets
from u2pl_jax.experiment import states
from u2pl_jax.runtime import sharding
from u2pl_jax.training import train_state, train_step

KEY = jax.random.key(3)


@pytest.mark.parametrize(
  "key", ["data.batch_size_l", "data.batch_size_u", "eval.batch_size"]
)
def test_a_batch_that_devices_cannot_share_is_refused(make_config, key):
  with pytest.raises(ValueError, match=f"{key}=12 cannot .* 8 devices"):
    experiment.create_experiment(make_config(**{key: 12}))


def test_batches_that_are_not_trained_on_need_not_divide(make_config):
  config = make_config(**{"data.batch_size_l": 12})
  assert experiment.create_experiment(config, trains=False).mesh.size == 8
  config = make_config("method=suponly", **{"data.batch_size_u": 12})
  assert not experiment.create_experiment(config).uses_unlabeled


def test_a_batch_of_one_image_is_refused(make_config, monkeypatch):
  mesh = sharding.create_mesh(devices=jax.devices()[:1])
  monkeypatch.setattr(sharding, "create_mesh", lambda *_: mesh)
  settings = {"data.batch_size_l": 1, "data.batch_size_u": 1}
  with pytest.raises(
    ValueError, match="data.batch_size_l=1: .* set it to 2 or"
  ):
    experiment.create_experiment(make_config(**settings))
  settings |= {"data.batch_size_l": 2, "optim.accumulate_steps": 2}
  settings |= {"data.batch_size_u": 2}
  with pytest.raises(ValueError, match="accumulate_steps=2; set it to 4 or"):
    experiment.create_experiment(make_config(**settings))


def test_a_label_stack_that_does_not_divide_is_refused(make_config):
  with pytest.raises(ValueError, match="contrast.label_stack=3 .*batch_size_l"):
    experiment.create_experiment(make_config(**{"contrast.label_stack": 3}))


def test_a_batch_must_divide_into_parts_on_every_device(make_config):
  config = make_config(**{"optim.accumulate_steps": 2})
  with pytest.raises(
    ValueError, match="data.batch_size_l=8 .* 8 devices times .*steps=2.* is 16"
  ):
    experiment.create_experiment(config)


@pytest.mark.parametrize(
  "per_16, batch_size, expected",
  [(False, 8, 0.1), (True, 8, 0.05), (True, 16, 0.1)],
)
def test_learning_rate_follows_the_batch_if_asked(
  make_config, per_16, batch_size, expected
):
  changes = {"optim.lr_per_16": per_16, "data.batch_size_l": batch_size}
  exp = experiment.create_experiment(make_config(**changes))
  rates = experiment.learning_rates(exp)
  assert rates["encoder"](0) == pytest.approx(expected)
  assert rates["head"](0) == pytest.approx(expected)


@pytest.mark.parametrize(
  "key, value",
  [
    ("semi.drop_percent", 101.0),
    ("semi.ema_decay", 1.5),
    ("augment.probability", -0.1),
    ("eval.every_epochs", 0),
    ("contrast.bank_capacity", 0),
    ("data.flip_prob", 2.0),
    ("eval.max_shapes", 0),
    ("eval.base_size", 512),
    ("eval.stride_rate", 1.5),
  ],
)
def test_a_value_out_of_range_is_refused_by_key(make_config, key, value):
  with pytest.raises(ValueError, match=f"{key}={value}: must be"):
    experiment.create_experiment(make_config(**{key: value}))


@pytest.mark.parametrize(
  "key, value",
  [
    ("data.scale_range", (1.5, 2.0)),
    ("data.scale_range", (1.0,)),
    ("data.crop_size", (4, 65)),
    ("mesh", (1,)),
  ],
)
def test_an_unusable_size_is_refused_by_key(make_config, key, value):
  with pytest.raises(ValueError, match=f"{key}=.*: must"):
    experiment.create_experiment(make_config(**{key: value}))


def test_the_run_follows_from_the_lists_and_the_config(make_config):
  exp = experiment.create_experiment(make_config())
  assert exp.timeline.steps_per_epoch == 2  # 16 unlabeled images, 8 a step.
  assert [phase.first_step for phase in exp.programs.phases] == [0, 16]
  assert [exp.images_at_step(index) for index in (0, 15, 16)] == [8, 8, 16]
  networks = [exp.programs.phase_of_state(step).network for step in (0, 16, 17)]
  assert networks == ["student", "student", "teacher"]


def test_masks_of_unlabeled_images_must_be_there(make_config, monkeypatch):
  config = make_config(**{"data.unlabeled_masks": True})
  exp = experiment.create_experiment(config)
  assert "label_u" in exp.data.batch_shapes(exp.programs.supply)
  is_labeled = np.zeros(len(exp.dataset.ids["train"]), bool)
  is_labeled[exp.split.labeled] = True
  unmasked = dataclasses.replace(exp.dataset, has_label={"train": is_labeled})
  monkeypatch.setattr(datasets, "open_dataset", lambda *_: unmasked)
  with pytest.raises(ValueError, match="data.unlabeled_masks=True: no unlab"):
    experiment.create_experiment(config)


def test_labels_alone_remember_nothing(make_config):
  exp = experiment.create_experiment(make_config("method=suponly"))
  state = jax.eval_shape(lambda: states.create_state(exp))
  assert state.memory is None
  assert exp.programs.phase_of_state(5).network == "student"
  assert exp.images_at_step(5) == 8


def test_without_contrastive_weight_there_is_no_bank(make_config):
  exp = experiment.create_experiment(make_config(**{"contrast.weight": 0.0}))
  assert exp.programs.abstract_state(exp.programs.phases[1]).memory.bank is None


@pytest.mark.parametrize(
  "recipe, remembers", [("paper", False), ("reference", True)]
)
def test_each_phase_has_a_state_of_its_own(make_config, recipe, remembers):
  exp = experiment.create_experiment(make_config(f"recipe={recipe}"))
  first, second = map(exp.programs.abstract_state, exp.programs.phases)
  assert (first.memory is not None) == remembers
  assert jax.tree.structure(second.memory.teacher) == jax.tree.structure(
    second.student
  )


def test_an_unknown_method_is_refused_with_those_there_are(make_config):
  config = make_config() | {"method": "mean_teacher"}
  with pytest.raises(
    ValueError, match="method='mean_teacher': .* suponly, u2pl"
  ):
    experiment.create_experiment(config)


def run_steps(mesh, num_steps=5):
  """Losses of some semi steps, and the parameters after them."""
  model, tx = tiny.make_model(), tiny.make_tx()
  (phase,) = phases = tiny.make_phases(model, **{"semi.supervised_epochs": 0})
  whole = sharding.replicate(mesh)
  state = tiny.make_state(model, tx, phases)
  of_state = train_state.lay_out(state, phase, mesh)
  step = jax.jit(
    train_step.make_step(model, tx, phase.method),
    in_shardings=(of_state, sharding.split_batch(mesh), whole),
    out_shardings=(of_state, whole),
  )
  state = jax.device_put(state, of_state)
  losses = []
  with jax.set_mesh(mesh):
    for index in range(num_steps):
      batch = sharding.to_global(tiny.make_batch(index, batch_size=8), mesh)
      state, metrics = step(state, batch, jax.device_put(KEY, whole))
      losses.append([float(metrics[n]) for n in sorted(metrics) if "loss" in n])
  return losses, state


@pytest.fixture(scope="module")
def on_one_device():
  return run_steps(sharding.create_mesh((1, 1), jax.devices()[:1]))


@pytest.mark.parametrize("shape", [(8, 1), (4, 2), (2, 4), (1, 8)], ids=str)
def test_any_mesh_equals_one_device(shape, on_one_device, monkeypatch):
  # So small a network would not be split at all.
  monkeypatch.setattr(sharding, "_MIN_SPLIT_SIZE", 16)
  losses, state = run_steps(sharding.create_mesh(shape))
  expected_losses, expected = on_one_device
  np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
  jax.tree.map(
    lambda left, right: np.testing.assert_allclose(left, right, atol=1e-4),
    state.params,
    expected.params,
  )


def test_with_fsdp_no_device_holds_the_whole_state(monkeypatch):
  monkeypatch.setattr(sharding, "_MIN_SPLIT_SIZE", 16)
  mesh = sharding.create_mesh((1, 8))
  changes = {"encoder.width": 8, "decoder.rep_channels": 8}
  model, tx = tiny.make_model(**changes), tiny.make_tx()
  phases = tiny.make_phases(model)
  state = tiny.make_state(model, tx, phases, phases[1])
  layout = train_state.lay_out(state, phases[1], mesh)
  state = jax.device_put(state, layout)
  for tree in (state.params, state.memory.teacher["params"], state.opt_state):
    leaves = jax.tree.leaves(tree)
    whole = sum(leaf.nbytes for leaf in leaves)
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    # Vectors of fewer than 16 numbers and kernels of odd sizes are whole.
    assert held < 0.2 * whole
  keys = state.memory.bank.keys
  assert keys.addressable_shards[0].data.shape == (len(keys), 1)
