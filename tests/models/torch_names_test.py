"""The name map: published names, exact round trips, listed errors."""

import jax
import numpy as np
import pytest

from tests import torch_weights
from u2pl_jax.models import torch_names


@pytest.mark.parametrize(
  "options", torch_weights.NETWORKS, ids=torch_weights.name
)
def test_round_trip_is_exact(options):
  shapes = torch_weights.shapes(**options)
  variables = torch_weights.random(shapes)
  state_dict = torch_names.to_torch(variables)
  counters = [n for n in state_dict if n.endswith("num_batches_tracked")]
  assert len(state_dict) - len(counters) == len(jax.tree.leaves(variables))
  restored = torch_names.from_torch(state_dict, shapes)
  torch_weights.assert_same(restored, variables)
  again = torch_names.to_torch(restored)
  assert again.keys() == state_dict.keys()
  for name, value in state_dict.items():
    np.testing.assert_array_equal(again[name], value)


def test_convs_are_transposed_and_vectors_kept():
  variables = torch_weights.random(torch_weights.shapes())
  state_dict = torch_names.to_torch(variables)
  conv = state_dict["encoder.conv1.3.weight"]
  kernel = variables["params"]["encoder"]["stem_conv2"]["kernel"]
  assert conv[1, 2, 0, 1] == kernel[0, 1, 2, 1]
  np.testing.assert_array_equal(
    state_dict["decoder.aspp.conv5.1.running_var"],
    variables["batch_stats"]["decoder"]["aspp"]["branch5"]["bn"]["var"],
  )


@pytest.mark.parametrize("stem,name", [("deep", "conv1.0"), ("conv7", "conv1")])
def test_stems_have_their_own_names(stem, name):
  names = torch_weights.state_dict(stem=stem)
  assert f"encoder.{name}.weight" in names
  assert "encoder.bn1.weight" in names


def test_a_part_can_be_filled_alone():
  shapes = torch_weights.shapes()
  part = torch_weights.encoder_of(shapes)
  variables = torch_weights.random(part)
  restored = torch_names.from_torch(torch_names.to_torch(variables), part)
  jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_missing_extra_and_wrongly_shaped_entries_are_all_listed():
  shapes = torch_weights.shapes()
  state_dict = torch_names.to_torch(torch_weights.random(shapes))
  del state_dict["encoder.bn1.bias"], state_dict["encoder.bn1.running_var"]
  state_dict["fc.weight"] = np.zeros((2, 2), np.float32)
  state_dict["fc.num_batches_tracked"] = np.zeros((), np.int64)
  state_dict["auxor.aux.4.bias"] = np.zeros(9, np.float32)
  # As many values, but in another layout.
  conv = state_dict["decoder.classifier.8.weight"]
  state_dict["decoder.classifier.8.weight"] = conv.reshape(1, 1, 4, 3)
  with pytest.raises(ValueError) as error:
    torch_names.from_torch(state_dict, shapes)
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
  shapes = torch_weights.shapes()
  state_dict = {
    name: value
    for name, value in torch_names.to_torch(
      torch_weights.random(shapes)
    ).items()
    if not name.endswith("num_batches_tracked")
  }
  torch_names.from_torch(state_dict, shapes)


def test_a_variable_without_a_published_name_is_refused():
  variables = {"params": {"decoder": {"extra": {"kernel": np.zeros(1)}}}}
  with pytest.raises(ValueError, match="params/decoder/extra/kernel"):
    torch_names.to_torch(variables)


def test_depthwise_kernels_keep_their_channels_first():
  variables = torch_weights.random(torch_weights.shapes(**torch_weights.LITE0))
  state_dict = torch_names.to_torch(variables)
  conv = state_dict["encoder._blocks.3._depthwise_conv.weight"]
  kernel = variables["params"]["encoder"]["block3"]["depthwise_conv"]["kernel"]
  assert conv.shape == (144, 1, 5, 5) and kernel.shape == (5, 5, 1, 144)
  assert conv[7, 0, 1, 2] == kernel[1, 2, 0, 7]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
  state_dict = torch_weights.state_dict()
  state_dict["encoder.bn1.bias"][1] = value
  with pytest.raises(ValueError, match="1 entry: not finite: encoder.bn1.bias"):
    torch_names.from_torch(state_dict, torch_weights.shapes())


def test_integers_are_no_weights():
  state_dict = torch_weights.state_dict()
  state_dict["encoder.bn1.bias"] = np.ones(8, np.int64)
  with pytest.raises(ValueError, match="no floats: encoder.bn1.bias is int64"):
    torch_names.from_torch(state_dict, torch_weights.shapes())


def test_of_many_problems_twenty_of_each_kind_are_named():
  problems = [f"missing: a{i}" for i in range(23)] + ["extra: b"]
  line = torch_names.summarize(problems)
  assert line.startswith("24 entries: missing: a0; ")
  assert line.endswith("missing: a19; ... and 3 more missing; extra: b")
