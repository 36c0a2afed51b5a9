"""Encoders and decoders are found by names that nothing else knows."""

import pytest

from u2pl_jax import methods
from u2pl_jax.models import decoders, encoders


def test_names_are_those_of_the_modules():
  transformers = [f"dinov2_vit{size}14" for size in "sblg"]
  assert encoders.names() == (
    *(name + end for name in transformers for end in ("", "_reg")),
    "efficientnet_lite0",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
  )
  assert decoders.names() == ("deeplab", "deeplab_slim", "dpt")
  for package in (encoders, decoders):
    for name in package.names():
      assert name in package.find(name).NAMES


def test_a_full_name_finds_a_module_elsewhere():
  assert encoders.find("tests.toy_encoder").MULTIPLE == 14
  assert decoders.find("tests.toy_decoder").NAMES == ("tests.toy_decoder",)


def test_a_name_that_nobody_owns_is_refused_with_those_there_are():
  with pytest.raises(ValueError, match="model.decoder='x': .* one of deeplab"):
    decoders.find("x")
  with pytest.raises(ValueError, match="method='a.b': No module named 'a'"):
    methods.find("a.b")
