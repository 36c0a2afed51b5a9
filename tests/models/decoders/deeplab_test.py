"""The decoder's fusion and heads; whole networks: tests/models/network_test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.models.decoders import deeplab

OPTIONS = dict(channels=8, low_level_channels=6, rep_channels=7)


def make(**changes):
  options = deeplab.Options(**(OPTIONS | dict(aspp_rates=(1, 2)) | changes))
  return deeplab.create(
    "deeplab",
    options,
    num_classes=5,
    strides=(4, 8, 16),
    dtype=jnp.float32,
  )


def make_features():
  rng = np.random.default_rng(0)
  return [
    rng.normal(size=(2, side, side, 3)).astype(np.float32)
    for side in (17, 9, 5)
  ]


def test_first_and_last_feature_make_the_outputs():
  decoder, head = make()
  assert head is None
  features = make_features()
  variables = decoder.init(
    jax.random.key(0), features, train=False, dropout=False
  )

  def run(*features):
    return decoder.apply(variables, features, train=False, dropout=False)

  outputs = run(*features)
  assert outputs["logits"].shape == (2, 17, 17, 5)
  assert outputs["rep"].shape == (2, 17, 17, 7)
  for index, counts in enumerate((True, False, True)):
    changed = [f + (i == index) for i, f in enumerate(features)]
    moved = np.any(run(*changed)["logits"] != outputs["logits"])
    assert moved == counts


def test_the_auxiliary_head_is_made_on_demand():
  _, head = make(aux_head=True)
  feature = make_features()[1]
  logits, variables = head.init_with_output(
    jax.random.key(0), feature, train=False, dropout=False
  )
  assert logits.shape == (2, 9, 9, 5)
  assert set(variables["params"]) == {"block1", "output"}


def test_a_single_feature_is_refused():
  with pytest.raises(ValueError, match="model.decoder='deeplab': fuses two"):
    deeplab.create(
      "deeplab",
      deeplab.Options(),
      num_classes=5,
      strides=(16,),
      dtype=jnp.float32,
    )
