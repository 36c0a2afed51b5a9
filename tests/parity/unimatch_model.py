"""The network of UniMatch V1, its names in files, and recorded weights."""

from typing import Any

from tests import networks
from tests.parity import network as network_lib
from u2pl_jax.models import network, torch_names


def name_in_file(name: str) -> str:
  """What a published file calls an entry."""
  if name.startswith("encoder."):
    return f"backbone.{name.removeprefix('encoder.')}"
  return name.removeprefix("decoder.")


def build(
  depth: int, num_classes: int, rates: tuple[int, ...] = (6, 12, 18)
) -> network.Network:
  return networks.make(
    num_classes=num_classes,
    encoder=f"resnet{depth}",
    decoder="deeplab_slim",
    output_stride=16,
    multi_grid=False,
    pool_ceil=False,
    aspp_rates=tuple(rates),
  )


def make_variables(model: network.Network, salt: str) -> dict[str, Any]:
  """Weights drawn by the names of the published files."""
  shapes = model.variable_shapes()
  state_dict = {
    name: network_lib.make_entry(name_in_file(name), shape, salt)
    for name, (shape, _) in network_lib.describe_entries(shapes).items()
  }
  return torch_names.from_torch(state_dict, shapes)


def to_file(variables: dict[str, Any]) -> dict[str, Any]:
  """Arrays under the names of the published files."""
  entries = torch_names.to_torch(variables)
  return {name_in_file(name): value for name, value in entries.items()}
