"""Networks and weights of the recorded runs.

The files hold no weights: each entry of the state dict of the published code
was drawn from a generator seeded by its name, which `make_entry` repeats.
"""

import json
import pathlib
import re
import zlib

import jax
import numpy as np

from tests import networks
from u2pl_jax.models import network, torch_names, torch_networks


def make_entry(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
  """Returns the float32 array of one state-dict entry.

  Args:
    name: PyTorch name without a "module." prefix.
    shape: PyTorch shape.
    salt: put in front of the name to get other weights.
  """
  kind = name.split(".")[-1]
  if kind == "num_batches_tracked":
    return np.zeros(shape, np.float32)
  generator = np.random.default_rng(zlib.crc32(f"{salt}{name}".encode()))
  if kind == "running_var":
    return np.float32(1 + 0.2 * generator.random(shape))
  normal = generator.standard_normal(shape)
  if kind in ("bias", "running_mean"):
    return np.float32(0.1 * normal)
  if len(shape) > 1:  # He-normal conv
    return np.float32(normal * np.sqrt(2 / np.prod(shape[1:])))
  scale = 1 + 0.1 * normal
  # The last BatchNorm of a residual branch is kept small.
  is_last = re.search(r"layer\d+\.\d+\.bn3\.weight$", name)
  return np.float32(scale * 0.2 if is_last else scale)


def build(config: dict) -> tuple[network.Network, dict]:
  """Returns the network and variables that a file's `config_json` describes."""
  output_stride = 32 // 2 ** sum(config["replace_stride_with_dilation"])
  model = networks.make(
    num_classes=config["num_classes"],
    encoder=f"resnet{config['depth']}",
    stem=config["stem"],
    output_stride=output_stride,
    multi_grid=config["multi_grid"],
    rep_channels=256 if config["rep_head"] else 0,
    aux_head=config["aux_head"],
    aspp_rates=config["aspp_rates"],
    dropout_rate=config.get("dropout_rate", 0.1),
  )
  shapes = model.variable_shapes()
  state_dict = {
    name: make_entry(name, shape, config["salt"])
    for name, (shape, _) in describe_entries(shapes).items()
  }
  return model, torch_names.from_torch(state_dict, shapes)


def read_entries(path: pathlib.Path) -> dict[str, tuple[tuple[int, ...], str]]:
  """{name: (shape, dtype)} of a recorded list of [name, shape, dtype]."""
  entries = json.loads(path.read_text())
  return {name: (tuple(shape), dtype) for name, shape, dtype in entries}


def recognize(entries: dict) -> torch_networks.Recognized:
  """The network that has these entries, as the project recognizes it."""
  arrays = {n: np.zeros(shape, dtype) for n, (shape, dtype) in entries.items()}
  return torch_networks.recognize(torch_networks.canonicalize(arrays)[0])


def describe_entries(variables: dict) -> dict[str, tuple]:
  """{name: (shape, dtype)} of a network's variables, laid out for PyTorch."""
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
  return {
    name: (value.shape, str(value.dtype))
    for name, value in torch_names.to_torch(zeros).items()
  }
