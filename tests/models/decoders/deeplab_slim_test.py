"""The smaller decoder; tests/parity compares it with the published one."""

import jax
import jax.numpy as jnp
import pytest

from tests import networks
from tests.models.decoders import deeplab_test
from tests.parity import network as parity_network
from u2pl_jax.models.decoders import deeplab_slim

OPTIONS = deeplab_slim.Options(channels=8, low_level_channels=4)


def create(strides=(4, 8, 16), options=OPTIONS):
  return deeplab_slim.create(
    "deeplab_slim", options, num_classes=5, strides=strides, dtype=jnp.float32
  )


def test_it_has_logits_of_the_first_feature_s_size_and_no_head_beside():
  decoder, head = create()
  assert head is None and decoder.rep_channels == 0
  features = deeplab_test.make_features()
  outputs, variables = decoder.init_with_output(
    jax.random.key(0), features, train=False, dropout=False
  )
  assert set(outputs) == {"logits"}
  assert outputs["logits"].shape == (2, 17, 17, 5)
  assert outputs["logits"].dtype == jnp.float32
  assert set(variables["params"]["pyramid"]) == {
    "branch0", "branch1", "branch2", "branch3", "pool",
  }  # fmt: skip


def test_what_it_does_not_have_is_named():
  with pytest.raises(
    ValueError, match="model.decoder='deeplab_slim': fuses tw"
  ):
    create(strides=(16,))
  with pytest.raises(ValueError, match="aspp_rates=.* must be 3 numbers"):
    deeplab_slim.Options(aspp_rates=(1, 2))
  section = deeplab_slim.Options.defaults() | {"aux_head": True}
  with pytest.raises(ValueError, match="unknown config key 'decoder.aux_head'"):
    deeplab_slim.Options.make(section)


def test_names_of_its_entries_tell_its_options():
  model = networks.make(
    num_classes=5,
    encoder="resnet18",
    width=4,
    decoder="deeplab_slim",
    channels=8,
    low_level_channels=6,
  )
  entries = parity_network.describe_entries(model.variable_shapes())
  shapes = {name: shape for name, (shape, _) in entries.items()}
  found = deeplab_slim.recognize(shapes)
  told = {"channels": 8, "low_level_channels": 6}
  assert found == ("deeplab_slim", told, (), 5)
  assert "decoder.head.b4.gap.1.weight" in shapes
  # What no file tells is that of the published ones.
  options = parity_network.recognize(entries).sections["encoder"]
  assert (options["output_stride"], options["pool_ceil"]) == (16, False)
  assert shapes["decoder.fuse.0.weight"] == (8, 14, 3, 3)
