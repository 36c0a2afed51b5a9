"""The peer's networks equal the recorded ones of the published code."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.peers import torch_network  # noqa: E402
from tests import networks  # noqa: E402
from tests.benchmarks import torch_golden  # noqa: E402
from tests.parity import golden  # noqa: E402
from tests.parity import network as weights  # noqa: E402


def make(config):
  """The network that a recording's `config_json` describes."""
  dilated = config["replace_stride_with_dilation"]
  sections = networks.make_sections(
    encoder=f"resnet{config['depth']}",
    stem=config["stem"],
    output_stride=32 // 2 ** sum(dilated),
    multi_grid=config["multi_grid"],
    rep_channels=256 if config["rep_head"] else 0,
    aux_head=config["aux_head"],
    aspp_rates=config["aspp_rates"],
    dropout_rate=config.get("dropout_rate", 0.1),
  )
  network = torch_network.create(sections, config["num_classes"])
  load(network, config["salt"])
  return network


def load(network, salt=""):
  """Weights of the recordings, which hold none."""
  entries = {
    name: torch.from_numpy(
      np.asarray(weights.make_entry(name, tuple(value.shape), salt))
    )
    for name, value in network.state_dict().items()
  }
  network.load_state_dict(entries)


@golden.every_file("state_dict")
def test_names_and_shapes_are_the_published_ones(path):
  entries = weights.read_entries(path)
  (depth,) = (depth for depth in (50, 101) if f"resnet{depth}" in path.name)
  sections = networks.make_sections(encoder=f"resnet{depth}", aux_head=True)
  network = torch_network.create(sections, 19)
  found = {n: tuple(v.shape) for n, v in network.state_dict().items()}
  assert found == {name: shape for name, (shape, _) in entries.items()}


@golden.every_file("model_eval")
def test_outputs(path):
  """Within 1e-4."""
  arrays = golden.load(path)
  network = make(json.loads(str(arrays["config_json"]))).eval()
  image = torch_golden.tensor(arrays["image"])
  image = image.contiguous(memory_format=torch.channels_last)
  with torch.no_grad():
    outputs = network(image)
  for name in ("pred", "aux"):
    if name in arrays:
      np.testing.assert_allclose(
        outputs[name], arrays[name], rtol=0, atol=1e-4, err_msg=name
      )
  if "rep_norm" in arrays:
    norm = outputs["rep"].norm(dim=1).numpy()
    expected = arrays["rep_norm"].reshape(norm.shape)
    np.testing.assert_allclose(norm, expected, rtol=1e-4)


@pytest.mark.parametrize("depth, stem", [(18, "deep"), (50, "conv7")])
def test_networks_that_were_never_published_equal_ours(depth, stem):
  import jax

  from u2pl_jax.models import torch_names

  options = dict(
    encoder=f"resnet{depth}",
    stem=stem,
    width=4,
    channels=8,
    low_level_channels=4,
    rep_channels=6,
    output_stride=16,
    aspp_rates=(1, 2),
  )
  peer = torch_network.create(networks.make_sections(**options), 5).eval()
  load(peer)
  ours = networks.make(num_classes=5, **options)
  state = {name: value.numpy() for name, value in peer.state_dict().items()}
  variables = torch_names.from_torch(
    {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")},
    ours.variable_shapes(),
  )
  images = np.random.default_rng(0).standard_normal((2, 33, 49, 3), np.float32)
  expected = jax.jit(
    lambda x: ours.apply(variables, x, train=False, dropout=False)
  )(images)
  with torch.no_grad():
    found = peer(torch.from_numpy(images).permute(0, 3, 1, 2))
  for theirs, own in (("pred", "logits"), ("rep", "rep")):
    np.testing.assert_allclose(
      found[theirs].permute(0, 2, 3, 1), expected[own], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet20"])
def test_other_networks_are_refused_in_one_line(name):
  config = {"model": {"encoder": name, "decoder": "deeplab"}}
  with pytest.raises(ValueError, match=f"^--peer: .*{name}.*$"):
    torch_network.create(config, 3)
