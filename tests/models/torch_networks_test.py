"""Recognizing networks by the names and shapes of their state dicts."""

import numpy as np
import pytest

from tests import networks, torch_weights
from u2pl_jax.models import torch_names, torch_networks


@pytest.mark.parametrize(
  "options", torch_weights.RESNETS, ids=torch_weights.name
)
def test_resnets_are_recognized(options):
  state_dict = torch_weights.state_dict(**options)
  network = torch_networks.recognize(state_dict)
  assert network.is_whole
  small = {k: v for k, v in torch_weights.SMALL.items() if k != "num_classes"}
  assert network.sections == networks.make_sections(**(small | options))
  assert network.num_classes == torch_weights.SMALL["num_classes"]
  assert not network.guessed
  assert not torch_names.find_problems(state_dict, network.variable_shapes())


def test_sizes_are_read_from_the_shapes():
  sizes = dict(channels=8, rep_channels=3)
  state_dict = torch_weights.state_dict(num_classes=7, width=6, **sizes)
  network = torch_networks.recognize(state_dict)
  assert network.num_classes == 7
  assert network.sections["encoder"]["width"] == 6
  assert sizes.items() <= network.sections["decoder"].items()


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
  decoder = network.sections["decoder"]
  assert decoder["aux_head"] == heads["aux_head"]
  assert decoder["rep_channels"] == heads["rep_channels"]
  assert network.guessed == ("decoder.aspp_rates",) * ("aspp_rates" in heads)
  assert not torch_names.find_problems(state_dict, network.variable_shapes())


def test_a_network_is_described_in_a_line():
  network = torch_networks.recognize(torch_weights.state_dict())
  assert str(network) == (
    "resnet18 (stem=deep, width=4), deeplab (channels=4, low_level_channels=5,"
    " rep_channels=6, aux_head=True), 3 classes"
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
  assert network.sections["model"]["encoder"] == options["encoder"]
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
    ({}, "no known encoder .dinov2_vits14, "),
    ({"encoder.a": 1, "encoder.b": 2}, "entries are encoder.a, encoder.b"),
    (
      {"encoder._blocks.0._bn1.weight": 1, "decoder.a": 1},
      r"no known decoder \(deeplab.*\); its entries are decoder.a, enc",
    ),
    (
      {f"encoder.layer{i}.7.bn1.weight": np.ones(4) for i in (1, 2, 3, 4)},
      r"\[8, 8, 8, 8\] basic blocks; known depths: 18, 34, 50, 101",
    ),
  ],
)
def test_unknown_networks_are_refused(entries, message):
  with pytest.raises(ValueError, match=message):
    torch_networks.recognize(entries)
