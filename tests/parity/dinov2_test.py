"""The encoders of the hub, and others of their widths, equal the published."""

import json

import jax
import numpy as np
import pytest

from tests.parity import golden, vit
from u2pl_jax.models import encoders

# Largest difference in standard deviations of the array.
_TOLERANCE = 1e-4
# Weights of gigabytes, large images, or what smaller ones show as well.
_SLOW = ("vitb", "vitl", "vitg", "giant", "large_images", "reg")


def _make(config, case):
  """The encoder of one case."""
  if "hub" in config:
    module = encoders.find(config["hub"])
    return module.create(
      config["hub"], module.Options(), dtype=np.float32, remat=False
    )
  arguments = config["kwargs"]
  return vit.make_encoder(arguments.get(case, arguments))


def variables(model, salt=""):
  """Recipe weights of an encoder alone."""
  image = jax.ShapeDtypeStruct((1, 28, 28, 3), np.float32)
  shapes = jax.eval_shape(
    lambda image: model.init(jax.random.key(0), image, train=False), image
  )
  within = {"params": {"encoder": shapes["params"]}}
  filled = vit.fill(within, {"encoder": ""}, salt)
  return {"params": filled["params"]["encoder"]}


def _forward(model, weights, image, masked=None):
  """Tokens that the first block reads, outputs of all, the last normed."""

  def run(weights, image):
    tokens = model.apply(weights, image, masked, method="embed")
    outputs = model.apply(weights, tokens, train=False, method="run_blocks")
    last = model.apply(weights, outputs[-1], method=lambda m, x: m.norm(x))
    return tokens, outputs, last

  with jax.default_matmul_precision("highest"):
    return jax.tree.map(np.asarray, jax.jit(run)(weights, image))


@golden.once_per_input
def _run(config_json, case, has_masks, masks):
  config = json.loads(str(config_json))
  model = _make(config, str(case))
  name, shape = config["images"][str(case)]
  image = vit.make_image(name, shape, config["salt"])
  weights = variables(model, config["salt"])
  return model, _forward(
    model, weights, golden.channels_last(image), masks if has_masks else None
  )


def _cases(arrays):
  """(prefix, encoder, its run) of each size in a file."""
  config_json = arrays["config_json"]
  for case in json.loads(str(config_json))["images"]:
    none = np.zeros(0, bool)
    yield (f"{case}/", *_run(config_json, case, False, none))


every_file = golden.every_file_but("dinov2", _SLOW)


def _assert_near(actual, expected, name):
  assert golden.relative_error(actual, expected) < _TOLERANCE, name


@every_file
def test_tokens(path):
  arrays = golden.load(path)
  for prefix, model, (tokens, outputs, last) in _cases(arrays):
    every = slice(None), slice(None), slice(None)
    if arrays[f"{prefix}tokens_in"].shape != tokens.shape:
      every = slice(None), slice(None, None, 17), slice(None, None, 3)
    first = 1 + model.num_registers
    found = {
      "tokens_in": tokens[every],
      "x_prenorm": outputs[-1][every],
      "cls": last[:, 0],
      "patch": last[:, first:][every],
    }
    if model.num_registers:
      found["reg"] = last[:, 1:first]
    for name, actual in found.items():
      _assert_near(actual, arrays[prefix + name], prefix + name)


@every_file
def test_all_blocks(path):
  arrays = golden.load(path)
  for prefix, _, (_, outputs, _) in _cases(arrays):
    statistics = arrays[f"{prefix}block_mean_std_absmax"]
    assert len(outputs) == len(statistics)
    for index, x in enumerate(outputs):
      name = f"{prefix}block{index:02}"
      _assert_near(x[:, ::5, ::16], arrays[name], name)
      found = x.mean(), x.std(), np.abs(x).max()
      np.testing.assert_allclose(
        found, statistics[index], rtol=0, atol=1e-4 * statistics[index, 1]
      )


@every_file
def test_masked_patches(path):
  arrays = golden.load(path)
  names = [name for name in arrays if name.endswith("/masks")]
  if not names:
    pytest.skip("no patches are masked in it")
  for name in names:
    prefix = name.removesuffix("masks")
    arguments = arrays["config_json"], prefix[:-1], True, arrays[name]
    model, (_, _, last) = _run(*arguments)
    patches = last[:, 1 + model.num_registers :, ::4]
    _assert_near(patches, arrays[f"{prefix}masked_patch"], name)
    _assert_near(last[:, 0], arrays[f"{prefix}masked_cls"], name)
