"""Each encoder of the hub takes the entries that its file has."""

import numpy as np

from tests.parity import golden, network
from u2pl_jax.models import torch_names, torch_networks

every_file = golden.every_file_but("state_dict_dinov2", ("vitl", "vitg"))


@every_file
def test_names_shapes_and_dtypes(path):
  recorded = network.read_entries(path)
  recognized = network.recognize(recorded)
  assert not recognized.is_whole
  assert path.stem.endswith(recognized.sections["model"]["encoder"])
  found = torch_names.torch_shapes(recognized.variable_shapes())
  # Each is of float32; zeros to ask for that would take gigabytes.
  assert {
    n.removeprefix("encoder."): (shape, "float32") for n, shape in found.items()
  } == recorded


@every_file
def test_names_of_its_own_training_are_understood(path):
  """There the encoder is "backbone", and its blocks are cut into chunks."""
  recorded = network.read_entries(path)
  foreign = {"dino_head.mlp.0.weight": ((8, 8), "float32")}
  for name, entry in recorded.items():
    first, _, rest = name.partition(".")
    chunk = f"blocks.0.{rest}" if first == "blocks" else name
    foreign[f"backbone.{chunk}"] = entry
  values = {name: np.zeros(1) for name in foreign}
  entries, dropped = torch_networks.canonicalize(values)
  assert dropped == ["dino_head.mlp.0.weight"]
  assert {n.removeprefix("encoder.") for n in entries} == recorded.keys()


@every_file
def test_an_entry_too_many_or_of_another_shape_is_named(path):
  recorded = network.read_entries(path)
  variables = network.recognize(recorded).variable_shapes()
  state_dict = {
    f"encoder.{name}": np.broadcast_to(np.float32(0), shape)
    for name, (shape, _) in recorded.items()
  }
  assert torch_names.find_problems(state_dict, variables) == []
  state_dict["encoder.head.weight"] = np.zeros((2, 2), np.float32)
  state_dict["encoder.norm.bias"] = np.zeros((2,), np.float32)
  problems = torch_names.find_problems(state_dict, variables)
  assert [p.split(" is ")[0] for p in problems] == [
    "wrong shape: encoder.norm.bias", "extra: encoder.head.weight"
  ]  # fmt: skip
