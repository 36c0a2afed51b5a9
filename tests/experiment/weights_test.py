"""What student and teacher start from."""

import jax
import numpy as np
import pytest

from tests import finished_run, tiny_run, torch_weights
from tests.report import reported
from u2pl_jax import experiment
from u2pl_jax.experiment import states, weights
from u2pl_jax.models import saved_networks, torch_names
from u2pl_jax.predict import trained


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
