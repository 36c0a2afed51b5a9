"""The head of DPT on given features equals UniMatch V2's."""

import json

import jax
import numpy as np

from tests.parity import golden, vit
from u2pl_jax.models.decoders import dpt
from u2pl_jax.ops import resize

# Largest difference in standard deviations of the array.
_TOLERANCE = 1e-4
# Published names of parts -> the modules here.
_MODULES = {
  "resize_layers": "resize_layers_{}",
  "scratch.layer": "layer{}_rn",
  "scratch.refinenet": "refinenet{}",
}


def make_head(config):
  """The head of a recording."""
  head, _ = dpt.create(
    "dpt",
    dpt.Options(rep_channels=0),
    num_classes=config["nclass"],
    strides=(14,) * 4,
    dtype=np.float32,
  )
  width = config["in_channels"]
  assert dpt.WIDTHS[width] == (
    tuple(config["out_channels"]),
    config["features"],
  )
  return head


@golden.once_per_input
def _run(config_json, *features):
  """Logits, the same upsampled, and the outputs of all parts."""
  config = json.loads(str(config_json))
  head = make_head(config)
  grid = tuple(config["grid"])
  maps = [f.reshape(len(f), *grid, -1) for f in features]
  shapes = jax.eval_shape(
    lambda maps: head.init(jax.random.key(0), maps, train=False, dropout=False),
    maps,
  )
  within = {"params": {"decoder": shapes["params"]}}
  filled = vit.fill(within, {"decoder": ""}, config["salt"])
  weights = {"params": filled["params"]["decoder"]}

  def run(weights, maps):
    outputs, captured = head.apply(
      weights, maps, train=False, dropout=False, capture_intermediates=True
    )
    size = [14 * side for side in grid]
    upsampled = resize.resize_bilinear(outputs["logits"], size)
    return outputs["logits"], upsampled, captured["intermediates"]

  with jax.default_matmul_precision("highest"):
    return jax.tree.map(np.asarray, jax.jit(run)(weights, maps))


def _load(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  features = [
    vit.make_image(name, config["features_shape"], config["salt"])
    for name in config["features_names"]
  ]
  return arrays, config, *_run(arrays["config_json"], *features)


def _assert_near(actual, expected, name):
  error = golden.relative_error(np.moveaxis(actual, -1, 1), expected)
  assert error < _TOLERANCE, name


@golden.every_file("dpt_head")
def test_logits(path):
  arrays, _, logits, upsampled, _ = _load(path)
  _assert_near(logits, arrays["logits"], "logits")
  _assert_near(upsampled, arrays["logits_upsampled"], "logits_upsampled")


@golden.every_file("dpt_head")
def test_parts(path):
  arrays, config, _, _, captured = _load(path)
  names = [name for name in arrays if name.startswith("part/")]
  assert names
  for name in names:
    part = name.removeprefix("part/")
    digit = next(filter(str.isdigit, part[::-1]))
    start = part.partition(digit)[0].rstrip(".")
    module = _MODULES[start].format(digit)
    # The third feature keeps its size, and goes on as it is projected.
    if module not in captured:
      module = f"projects_{digit}"
    actual = captured[module]["__call__"][0]
    expected = arrays[name]
    channels = config["part_shapes"][part][1]
    assert actual.shape[-1] == channels
    stride = max(1, channels // (32 if config["size"] == "small" else 12))
    _assert_near(actual[..., ::stride], expected, name)
