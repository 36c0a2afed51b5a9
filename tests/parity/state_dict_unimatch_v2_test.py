"""Whole networks of UniMatch V2: recognized by name, written as published."""

import numpy as np

from tests.parity import golden, network
from u2pl_jax.models import torch_names, torch_networks

every_file = golden.every_file_but("state_dict_unimatch_v2", ("large", "giant"))


@every_file
def test_names_shapes_and_dtypes(path):
  recorded = network.read_entries(path)
  recognized = network.recognize(recorded)
  assert recognized.is_whole
  shapes = torch_names.torch_shapes(recognized.variable_shapes())
  published, called = torch_networks.as_published(shapes)
  # Each is of float32; zeros to ask for that would take gigabytes.
  assert {n: (shape, "float32") for n, shape in published.items()} == recorded
  assert (called["teacher"], called["student"]) == ("model_ema", "model")


@every_file
def test_the_prefix_of_data_parallel_training_makes_no_difference(path):
  recorded = network.read_entries(path)
  values = {
    f"module.{name}": np.broadcast_to(np.zeros((), dtype), shape)
    for name, (shape, dtype) in recorded.items()
  }
  entries, dropped = torch_networks.canonicalize(values)
  assert not dropped
  variables = torch_networks.recognize(entries).variable_shapes()
  assert torch_names.find_problems(entries, variables) == []
