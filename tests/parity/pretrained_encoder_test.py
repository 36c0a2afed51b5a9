"""The encoder takes the entries that the published one takes."""

import numpy as np

from tests.parity import golden, network
from u2pl_jax.models import torch_names, torch_networks


@golden.every_file("pretrained_encoder")
def test_names_shapes_and_dtypes(path):
  recorded = network.read_entries(path)
  recognized = network.recognize(recorded)
  assert not recognized.is_whole
  found = network.describe_entries(recognized.variable_shapes())
  assert {n.removeprefix("encoder."): e for n, e in found.items()} == recorded


@golden.every_file("pretrained_encoder")
def test_all_entries_are_taken_and_the_classifier_is_not(path):
  recorded = network.read_entries(path)
  weights = {n: network.make_entry(n, s) for n, (s, _) in recorded.items()}
  classifier = {"fc.weight": np.zeros((7, 5)), "fc.bias": np.zeros(7)}
  entries, dropped = torch_networks.canonicalize(weights | classifier)
  assert sorted(dropped) == sorted(classifier)
  variables = torch_networks.recognize(entries).variable_shapes()
  assert torch_names.find_problems(entries, variables) == []
  taken = torch_names.to_torch(torch_names.from_torch(entries, variables))
  assert taken.keys() == {f"encoder.{name}" for name in recorded}
  for name, value in weights.items():
    np.testing.assert_array_equal(taken[f"encoder.{name}"], value)
