"""The name map: published names, exact round trips, listed errors."""

import jax
import numpy as np
import pytest

from tests import golden_weights
from u2pl_jax.models import deeplab, torch_import

SMALL = dict(
  num_classes=3,
  width=4,
  decoder_channels=4,
  low_level_channels=4,
  rep_channels=4,
  aux_head=True,
)


def _shapes(**options):
  model = deeplab.create_model(**(SMALL | options))
  return golden_weights.variable_shapes(model)


def _random(shapes, seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes
  )


@pytest.mark.parametrize("stem", ["deep", "conv7"])
@pytest.mark.parametrize(
  "encoder", ["resnet18", "resnet34", "resnet50", "resnet101"]
)
def test_round_trip_is_exact(encoder, stem):
  shapes = _shapes(encoder=encoder, stem=stem)
  variables = _random(shapes)
  state_dict = torch_import.to_torch(variables)
  counters = [n for n in state_dict if n.endswith("num_batches_tracked")]
  assert len(state_dict) - len(counters) == len(jax.tree.leaves(variables))
  restored = torch_import.from_torch(state_dict, shapes)
  jax.tree.map(np.testing.assert_array_equal, restored, variables)
  again = torch_import.to_torch(restored)
  assert again.keys() == state_dict.keys()
  for name, value in state_dict.items():
    np.testing.assert_array_equal(again[name], value)


def test_names_are_those_of_the_published_network():
  golden, _ = golden_weights.load("model_train_r50_c21_65x65_b3.npz")
  names = torch_import.to_torch(_random(_shapes(encoder="resnet50")))
  buffers = ("running_mean", "running_var", "num_batches_tracked")
  parameters = {n for n in names if not n.endswith(buffers)}
  assert parameters == set(golden["param_names"])
  for name in golden["bn_names"]:
    for buffer in buffers:
      assert f"{name}.{buffer}" in names


def test_convs_are_transposed_and_vectors_kept():
  variables = _random(_shapes(encoder="resnet18"))
  state_dict = torch_import.to_torch(variables)
  conv = state_dict["encoder.conv1.3.weight"]
  kernel = variables["params"]["encoder"]["stem_conv2"]["kernel"]
  assert conv[1, 2, 0, 1] == kernel[0, 1, 2, 1]
  np.testing.assert_array_equal(
    state_dict["decoder.aspp.conv5.1.running_var"],
    variables["batch_stats"]["decoder"]["aspp"]["branch5"]["bn"]["var"],
  )


@pytest.mark.parametrize("stem,name", [("deep", "conv1.0"), ("conv7", "conv1")])
def test_stems_have_their_own_names(stem, name):
  names = torch_import.to_torch(_random(_shapes(encoder="resnet18", stem=stem)))
  assert f"encoder.{name}.weight" in names
  assert "encoder.bn1.weight" in names


def test_a_part_can_be_filled_alone():
  shapes = _shapes(encoder="resnet18")
  part = {key: {"encoder": tree["encoder"]} for key, tree in shapes.items()}
  variables = _random(part)
  restored = torch_import.from_torch(torch_import.to_torch(variables), part)
  jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_missing_extra_and_wrongly_shaped_entries_are_all_listed():
  shapes = _shapes(encoder="resnet18")
  state_dict = torch_import.to_torch(_random(shapes))
  del state_dict["encoder.bn1.bias"], state_dict["encoder.bn1.running_var"]
  state_dict["fc.weight"] = np.zeros((2, 2), np.float32)
  state_dict["fc.num_batches_tracked"] = np.zeros((), np.int64)
  state_dict["auxor.aux.4.bias"] = np.zeros(9, np.float32)
  # As many values, but in another layout.
  conv = state_dict["decoder.classifier.8.weight"]
  state_dict["decoder.classifier.8.weight"] = conv.reshape(1, 1, 4, 3)
  with pytest.raises(ValueError) as error:
    torch_import.from_torch(state_dict, shapes)
  message = str(error.value)
  assert "6 entries" in message
  for part in (
    "missing: encoder.bn1.bias",
    "missing: encoder.bn1.running_var",
    "extra: fc.weight",
    "extra: fc.num_batches_tracked",
    "wrong shape: auxor.aux.4.bias is (9,), not (3,)",
    "decoder.classifier.8.weight is (1, 1, 4, 3), not (3, 4, 1, 1)",
  ):
    assert part in message


def test_counters_of_updates_are_not_needed():
  shapes = _shapes(encoder="resnet18")
  state_dict = {
    name: value
    for name, value in torch_import.to_torch(_random(shapes)).items()
    if not name.endswith("num_batches_tracked")
  }
  torch_import.from_torch(state_dict, shapes)


def test_a_variable_without_a_published_name_is_refused():
  variables = {"params": {"decoder": {"extra": {"kernel": np.zeros(1)}}}}
  with pytest.raises(ValueError, match="params/decoder/extra/kernel"):
    torch_import.to_torch(variables)
