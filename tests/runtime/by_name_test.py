"""Encoders and decoders are found by names that nothing else knows."""

import pathlib

import pytest

from u2pl_jax.models import decoders, encoders, network

PACKAGE = pathlib.Path(network.__file__).parents[1]


def test_names_are_those_of_the_modules():
  assert encoders.names() == (
    "efficientnet_lite0",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
  )
  assert decoders.names() == ("deeplab",)
  for package in (encoders, decoders):
    for name in package.names():
      assert name in package.find(name).NAMES


def test_a_full_name_finds_a_module_elsewhere():
  assert encoders.find("tests.toy_encoder").MULTIPLE == 14
  assert decoders.find("tests.toy_decoder").NAMES == ("tests.toy_decoder",)


@pytest.mark.parametrize("package", [encoders, decoders])
def test_nothing_else_knows_a_name(package):
  """But for the default of an option."""
  default = network.sections()["model"]
  defaults = (default["encoder"], default["decoder"])
  for name in package.names():
    own = pathlib.Path(package.find(name).__file__)
    for path in PACKAGE.rglob("*.py"):
      may_hold = path == own or (name in defaults and path.name == "network.py")
      assert may_hold or name not in path.read_text(), f"{path} knows {name}"
