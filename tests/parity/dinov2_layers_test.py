"""Outputs of chosen blocks, with and without the last norm."""

import json
import re

import jax
import numpy as np

from tests.parity import dinov2_test, golden, vit
from u2pl_jax.models import encoders

_TOLERANCE = 1e-4


@golden.once_per_input
def _run(config_json, image):
  """The features, and of all blocks the tokens without and with the norm."""
  config = json.loads(str(config_json))
  module = encoders.find(config["hub"])
  model = module.create(
    config["hub"], module.Options(), dtype=np.float32, remat=False
  )
  weights = dinov2_test.variables(model, config["salt"])

  def run(weights, image):
    image = golden.channels_last(image)
    tokens = model.apply(weights, image, method="embed")
    outputs = model.apply(weights, tokens, train=False, method="run_blocks")
    normed = [model.apply(weights, x, method=_norm) for x in outputs]
    return model.apply(weights, image, train=False), outputs, normed

  with jax.default_matmul_precision("highest"):
    found = jax.jit(run)(weights, image)
  return model, jax.tree.map(np.asarray, found)


def _norm(model, x):
  return model.norm(x)


def _load(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  (name, shape), *_ = config["images"].values()
  image = vit.make_image(name, shape, config["salt"])
  return arrays, *_run(arrays["config_json"], image)


def _assert_near(actual, expected, name):
  assert golden.relative_error(actual, expected) < _TOLERANCE, name


@golden.every_file("dinov2_layers")
def test_features_are_the_normed_outputs(path):
  arrays, model, (features, _, _) = _load(path)
  for index, feature in zip(model.taken, features, strict=True):
    name = f"norm/layer{index:02}/patch"
    patches = feature.reshape(len(feature), -1, model.width)
    _assert_near(patches, arrays[name], name)


@golden.every_file("dinov2_layers")
def test_outputs_of_blocks(path):
  arrays, model, (_, outputs, normed) = _load(path)
  kinds = {"norm": normed, "prenorm": outputs}
  names = [n for n in arrays if n.startswith(("norm/", "prenorm/"))]
  assert names
  for name in names:
    kind, index, part = re.fullmatch(r"(\w+)/layer(\d+)/(\w+)", name).groups()
    tokens = kinds[kind][int(index)]
    first = 1 + model.num_registers
    parts = {"cls": tokens[:, 0], "patch": tokens[:, first:]}
    _assert_near(parts[part], arrays[name], name)


@golden.every_file("dinov2_layers")
def test_maps_of_the_last_blocks_and_plain_calling(path):
  """UniMatch V2's copy, called plainly, leaves the last norm out."""
  arrays, model, (_, outputs, normed) = _load(path)
  first = 1 + model.num_registers
  for index, tokens in enumerate(normed[-2:]):
    name = f"last2_reshaped/{index}"
    patches = np.moveaxis(tokens[:, first:, ::4], -1, 1)
    _assert_near(patches.reshape(arrays[name].shape), arrays[name], name)
  name = "unimatch_forward_every4"
  _assert_near(outputs[-1][:, first:, ::4], arrays[name], name)
