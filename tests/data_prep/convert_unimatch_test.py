"""Published checkpoints of UniMatch V1 convert, start runs, and come back."""

import jax
import numpy as np
import pytest

from data_prep import convert_torch_resnet
from tests import networks
from tests.parity import unimatch_model
from u2pl_jax.models import pretrained

torch = pytest.importorskip("torch")

OPTIONS = dict(
  num_classes=5,
  encoder="resnet50",
  width=4,
  channels=8,
  output_stride=16,
  multi_grid=False,
)
MODEL = networks.make(
  decoder="deeplab_slim", low_level_channels=6, pool_ceil=False, **OPTIONS
)


@pytest.fixture(scope="module")
def variables():
  return unimatch_model.make_variables(MODEL, "um:")


@pytest.fixture
def checkpoint(variables, tmp_path):
  """As the published code saves it, prefix and all."""
  state = {
    f"module.{name}": torch.from_numpy(np.array(value))
    for name, value in unimatch_model.to_file(variables).items()
  }
  path = tmp_path / "v1.pth"
  torch.save(
    {"model": state, "optimizer": {}, "epoch": 3, "previous_best": 75.1}, path
  )
  return path


def test_it_converts_and_starts_a_run(checkpoint, variables, tmp_path):
  target = tmp_path / "v1.npz"
  convert_torch_resnet.convert(checkpoint, target)
  found = pretrained.load_pretrained(target, MODEL.variable_shapes())
  assert found.parts == ("encoder", "decoder") and not found.left_out
  jax.tree.map(np.testing.assert_array_equal, found.variables, variables)


def test_it_is_the_published_network_without_any_options(checkpoint, tmp_path):
  target = tmp_path / "v1.npz"
  convert_torch_resnet.convert(checkpoint, target)
  network, _ = pretrained.load_network(target)
  encoder = network.sections["encoder"]
  assert network.sections["model"]["decoder"] == "deeplab_slim"
  assert network.sections["decoder"]["aspp_rates"] == (6, 12, 18)
  assert (encoder["output_stride"], encoder["multi_grid"]) == (16, False)
  assert encoder["pool_ceil"] is False and network.num_classes == 5


def test_a_network_of_another_decoder_is_refused_in_one_line(
  checkpoint, tmp_path
):
  target = tmp_path / "v1.npz"
  convert_torch_resnet.convert(checkpoint, target)
  other = networks.make(**OPTIONS)
  with pytest.raises(ValueError, match="deeplab_slim.*does not fit") as error:
    pretrained.load_pretrained(target, other.variable_shapes())
  assert "\n" not in str(error.value)


def test_what_is_exported_has_the_published_names(variables, tmp_path):
  target = tmp_path / "out.pth"
  convert_torch_resnet.save(variables, target, state="student")
  state = torch.load(target, weights_only=True)["model"]
  expected = unimatch_model.to_file(variables)
  assert state.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(state[name], value)
