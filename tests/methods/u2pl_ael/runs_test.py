"""Whole runs: interrupted with either lag, and on several devices."""

import json

import jax
import numpy as np
import pytest

from tests import finished_run, tiny_run
from u2pl_jax import train
from u2pl_jax.experiment import states
from u2pl_jax.models import torch_names
from u2pl_jax.runtime import checkpoint, distributed, sharding

pytestmark = pytest.mark.slow

ARG = "method=u2pl_ael"
_create_mesh = sharding.create_mesh


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def use_devices(monkeypatch):
  """use_devices(count) has meshes made of so many."""

  def use(count):
    monkeypatch.setattr(
      sharding,
      "create_mesh",
      lambda *_: _create_mesh((-1, 1), jax.devices()[:count]),
    )

  return use


def make_config(data_dir, lag):
  # Steps 1 and 2 supervised, 3 and 4 without and 5 and 6 with the contrastive
  # loss.
  return tiny_run.make_config(
    data_dir, ARG, **{"ael.draw_lag": lag, "ael.contrast_start": 2 / 3}
  )


@pytest.mark.parametrize("lag, killed_at", [(0, 5), (2, 5), (2, 3)])
def test_a_killed_run_ends_bit_for_bit_the_same(
  lag, killed_at, data_dir, use_devices, tmp_path, monkeypatch
):
  use_devices(1)
  config = make_config(data_dir, lag)
  changes = {"checkpoint": config["checkpoint"] | {"every_steps": 1}}
  config |= changes
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  train.train_and_evaluate(config, whole)

  def die(line):
    if line.startswith(f"step {killed_at + 1}/"):
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(distributed, "show", die)
    with pytest.raises(KeyboardInterrupt):
      train.train_and_evaluate(config, killed)
  with checkpoint.open_manager(
    killed / "checkpoints", keep_last=1, read_only=True
  ) as manager:
    assert manager.latest_step() == killed_at
  train.train_and_evaluate(config, killed)
  states = [finished_run.state_of(config, folder) for folder in (killed, whole)]
  assert len(states[0].memory.queue["position_u2"]) == lag + 1
  finished_run.assert_bit_identical(*states)


def test_what_a_run_shows(data_dir, use_devices, tmp_path):
  use_devices(1)
  result = train.train_and_evaluate(make_config(data_dir, 2), tmp_path)
  assert (result["step"], result["network"]) == (6, "teacher")
  tags = finished_run.read_tags(tmp_path)
  for tag in ("classes/confidence/ring", "classes/present/star"):
    assert tags[tag] == [3, 4, 5, 6]
  assert tags["batch/0"] == [4, 6]  # With their boxes.
  assert tags["loss/contrastive"] == [5, 6]
  assert json.loads((tmp_path / "result.json").read_text())["miou"] >= 0


def test_a_converted_checkpoint_starts_networks_and_classes(data_dir, tmp_path):
  arg = f"{ARG},encoder=resnet18"
  exp = tiny_run.create(data_dir, arg)
  variables = exp.model.init_variables(jax.random.key(5))
  num_unlabeled = len(exp.split.unlabeled)
  present = np.arange(8 * num_unlabeled).reshape(8, -1) % 3 == 0
  remembered = {
    "memory/confidence": np.full(8, 0.25, np.float32),
    "memory/present": present,
  }
  path = tmp_path / "converted.npz"
  np.savez(path, **torch_names.to_torch(variables), **remembered)
  exp = tiny_run.create(data_dir, arg, **{"model.pretrained": str(path)})
  state = states.create_state(exp)
  np.testing.assert_array_equal(state.memory.confidence, 0.25)
  np.testing.assert_array_equal(state.memory.present, present)
  for network in (state.student, state.memory.teacher):
    jax.tree.map(np.testing.assert_array_equal, dict(network), dict(variables))


@pytest.mark.parametrize("recipe", ["paper", "reference"])
def test_one_device_and_eight_have_the_same_losses(
  recipe, data_dir, use_devices
):
  found = []
  for count in (1, 8):
    use_devices(count)
    arg = f"{ARG},recipe={recipe}"
    found.append(tiny_run.make_steps(data_dir, arg=arg))
  (one, params), (eight, others) = found
  # Consistency of labeled and of mixed images, contrastive, supervised, total.
  alone = [0, 2, 3]
  np.testing.assert_allclose(one[0][alone], eight[0][alone], rtol=1e-5)
  # The entropy of one of 8,712 mixed pixels is the threshold itself: rounding
  # decides whether it is taught, which is worth 3e-4 here.
  np.testing.assert_allclose(one[0], eight[0], rtol=1e-3)
  # Which classes count, and which pixels are anchors, goes by the largest
  # logit: in an untrained network, rounding decides it for a pixel now and
  # then. One of 8,712 is worth 1e-4 of the consistency, and an anchor more or
  # less has others drawn, which is worth 1e-2 of the contrastive loss.
  np.testing.assert_allclose(one, eight, rtol=3e-2)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), params, others
  )
