"""Recognising networks by the names and shapes of their state dicts."""

import numpy as np
import pytest

from tests import torch_weights
from u2pl_jax.models import torch_names, torch_networks


@pytest.mark.parametrize(
  "options", torch_weights.RESNETS, ids=torch_weights.name
)
def test_resnets_are_recognised(options):
  state_dict = torch_weights.state_dict(**options)
  network = torch_networks.recognize(state_dict)
  assert network.is_whole
  expected = torch_weights.SMALL | options | dict(aspp_rates=(1, 1, 1))
  assert network.options == expected
  assert not torch_names.find_problems(state_dict, network.variable_shapes())


def test_sizes_are_read_from_the_shapes():
  sizes = dict(num_classes=7, width=6, decoder_channels=8, rep_channels=3)
  network = torch_networks.recognize(torch_weights.state_dict(**sizes))
  assert {key: network.options[key] for key in sizes} == sizes


@pytest.mark.parametrize(
  "heads",
  [
    dict(aux_head=False, rep_channels=6),
    dict(aux_head=True, rep_channels=0),
    dict(aux_head=False, rep_channels=0, aspp_rates=(6,)),
  ],
)
def test_heads_are_told_by_their_entries(heads):
  state_dict = torch_weights.state_dict(**heads)
  network = torch_networks.recognize(state_dict)
  assert network.options["aux_head"] == heads["aux_head"]
  assert network.options["rep_channels"] == heads["rep_channels"]
  assert not torch_names.find_problems(state_dict, network.variable_shapes())


def test_a_network_is_described_in_a_line():
  network = torch_networks.recognize(torch_weights.state_dict())
  assert str(network) == (
    "resnet18, deep stem, width 4, 3 classes, representation head, "
    "auxiliary head"
  )


@pytest.mark.parametrize(
  "options",
  [*torch_weights.RESNETS[:2], torch_weights.LITE0],
  ids=torch_weights.name,
)
def test_imagenet_files_become_encoders_without_classifier(options):
  entries, dropped = torch_networks.canonicalize(
    torch_weights.imagenet(**options)
  )
  assert dropped and not any("fc" in name for name in entries)
  network = torch_networks.recognize(entries)
  assert not network.is_whole and "encoder alone" in str(network)
  assert network.options["encoder"] == options["encoder"]
  assert not torch_names.find_problems(entries, network.variable_shapes())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_whole_networks_lose_the_prefix_of_parallel_training(prefix):
  state_dict = torch_weights.state_dict()
  entries, dropped = torch_networks.canonicalize(
    {prefix + name: value for name, value in state_dict.items()}
  )
  assert entries == state_dict and not dropped


def test_a_classifier_in_a_whole_network_is_not_dropped():
  state_dict = torch_weights.state_dict() | {"fc.bias": np.ones(3, np.float32)}
  entries, _ = torch_networks.canonicalize(state_dict)
  shapes = torch_networks.recognize(entries).variable_shapes()
  assert torch_names.find_problems(entries, shapes) == ["extra: fc.bias"]


def test_single_faulty_entries_are_outvoted():
  state_dict = torch_weights.state_dict()
  ones = np.ones(99, np.float32)
  faulty = (
    "encoder.layer1.0.bn1.weight",
    "decoder.classifier.8.bias",
    "decoder.head.1.bias",
  )
  state_dict |= {name: ones for name in faulty}
  del state_dict["encoder.conv1.0.weight"]
  shapes = torch_networks.recognize(state_dict).variable_shapes()
  problems = torch_names.find_problems(state_dict, shapes)
  assert problems[0] == "missing: encoder.conv1.0.weight"
  assert {p.split()[2] for p in problems[1:]} == set(faulty)


@pytest.mark.parametrize(
  "entries,message",
  [
    ({}, "neither a ResNet nor"),
    ({"encoder.a": 1, "encoder.b": 2}, "entries are encoder.a, encoder.b"),
    (
      {f"encoder.layer{i}.7.bn1.weight": np.ones(4) for i in (1, 2, 3, 4)},
      r"\[8, 8, 8, 8\] basic blocks; known depths: 18, 34, 50, 101",
    ),
  ],
)
def test_unknown_networks_are_refused(entries, message):
  with pytest.raises(ValueError, match=message):
    torch_networks.recognize(entries)
