"""The parts that a config makes, on eight devices."""

import dataclasses
import runpy

import jax
import numpy as np
import pytest

from data_prep import synthetic
from tests import finished_run, tiny, tiny_run, torch_weights
from tests.report import reported
from u2pl_jax import experiment
from u2pl_jax.data import datasets
from u2pl_jax.experiment import states, weights
from u2pl_jax.models import saved_networks, torch_names
from u2pl_jax.predict import trained
from u2pl_jax.runtime import sharding
from u2pl_jax.training import train_state, train_step

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  synthetic.prepare(
    folder, num_labeled=16, num_unlabeled=16, num_val=8, image_size=32
  )
  return str(folder)


@pytest.fixture
def make_config(data_dir):
  def make(arg="", **changes):
    config = runpy.run_path("configs/synthetic.py")["get_config"](arg)
    settings = {"data.data_dir": data_dir, "data.split": "16"}
    config.update_from_flattened_dict(settings | changes)
    return config.to_dict()

  return make


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


def _pretrained_encoder(path):
  """Writes random weights of the encoder below; returns what they are."""
  encoder = torch_weights.encoder_of(
    torch_weights.random(torch_weights.shapes())
  )
  np.savez(path, **torch_names.to_torch(encoder))
  return encoder


def test_student_and_teacher_start_from_the_pretrained_file(
  make_config, tmp_path
):
  path = tmp_path / "encoder.npz"
  encoder = _pretrained_encoder(path)
  config = make_config(
    **{
      "encoder.width": 4,
      "model.pretrained": str(path),
      "semi.teacher_init": "independent",
    }
  )
  exp = experiment.create_experiment(config)
  loaded = weights.load_pretrained(exp)
  assert (loaded.parts, loaded.left_out) == (("encoder",), ())
  state = states.create_state(exp)
  for variables in (state.student, state.network("teacher")):
    torch_weights.assert_same(torch_weights.encoder_of(variables), encoder)
  # Decoders have no weights in the file, and keep their own.
  left, right = (
    jax.tree.leaves(variables["params"]["decoder"])
    for variables in (state.student, state.network("teacher"))
  )
  assert any(np.any(a != b) for a, b in zip(left, right, strict=True))


def test_a_pretrained_file_of_another_encoder_is_refused(make_config, tmp_path):
  path = tmp_path / "encoder.npz"
  _pretrained_encoder(path)
  config = make_config(**{"encoder.width": 8, "model.pretrained": str(path)})
  exp = experiment.create_experiment(config)
  with pytest.raises(ValueError, match="encoder.npz.*wrong shape: encoder."):
    weights.load_pretrained(exp)


def test_a_run_starts_from_the_best_checkpoint_of_another_one(tmp_path):
  data_dir = tiny_run.make_dataset(tmp_path / "data")
  reported.write_run(tmp_path / "run", data_dir, scalars={})
  changes = {"model.pretrained": str(tmp_path / "run")}
  arg = "encoder=resnet18"
  exp = tiny_run.create(data_dir, arg, **changes)
  assert weights.load_pretrained(exp).parts == ("decoder", "encoder")
  state = states.create_state(exp)
  kept = trained.load_run(tmp_path / "run", "best", "teacher").variables
  finished_run.assert_bit_identical(dict(state.student), dict(kept))
  other = tiny_run.create(data_dir, arg, **changes, **{"encoder.width": 8})
  with pytest.raises(ValueError, match="the run has another network; "):
    weights.load_pretrained(other)


def test_a_shared_network_of_other_classes_is_refused(make_config, tmp_path):
  exp = experiment.create_experiment(make_config())
  names = exp.dataset.class_names
  sections = ("model", "encoder", "decoder")
  about = {"options": {"num_classes": len(names)}, "names": names}
  about["options"] |= {name: exp.config[name] for name in sections}
  variables = torch_weights.random(exp.model.variable_shapes())
  path = tmp_path / "net"
  saved_networks.write_folder(path, about, variables, "")
  exp = experiment.create_experiment(
    make_config(**{"model.pretrained": str(path)})
  )
  torch_weights.assert_same(states.create_state(exp).student, variables)
  about["names"] = ("sky", *names[1:])
  saved_networks.write_folder(path, about, variables, "")
  with pytest.raises(ValueError, match="net: its classes.*class 0 is sky, not"):
    states.create_state(exp)


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
