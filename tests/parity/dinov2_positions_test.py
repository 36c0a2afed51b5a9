"""Positions are resized as the published encoders do it."""

import json
import re

import jax
import numpy as np

from tests.parity import golden
from u2pl_jax.models.vit import transformer
from u2pl_jax.ops import bicubic

# In units of the table, which is white noise of deviation 0.5.
_TOLERANCE = dict(rtol=0, atol=1e-5)


def _rule(config, mode):
  """Arguments of `resize_table`, which `RESIZINGS` must hold."""
  published = config["modes"][mode]
  rule = {"offset": published["interpolate_offset"]}
  if published["interpolate_antialias"]:
    rule = {"antialias": True}
  rule = {key: value for key, value in rule.items() if value}
  assert rule in transformer.RESIZINGS.values()
  return rule


@golden.every_file("dinov2_positions")
def test_tables(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  seen = 0
  for name, expected in arrays.items():
    match = re.fullmatch(r"(grid(\d+))/(\w+)/(\d+)x(\d+)", name)
    if match is None:
      continue
    seen += 1
    size = tuple(map(int, match.group(4, 5)))
    whole = arrays[f"{match[1]}/pos_embed"]
    rule = _rule(config, match[3])
    (resizing,) = (k for k, v in transformer.RESIZINGS.items() if v == rule)
    found = transformer.resize_positions(whole[0, 1:], size, resizing)
    np.testing.assert_allclose(found, expected[0, 1:], **_TOLERANCE)
    np.testing.assert_array_equal(expected[0, :1], whole[0, :1])
  assert seen


@golden.every_file("dinov2_positions")
def test_weights_of_one_axis(path):
  """Within 3e-5, as the recordings' float32 source positions ask for."""
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  names = [name for name in arrays if name.startswith("matrix")]
  assert names
  for name in names:
    size, mode, target = re.fullmatch(r"matrix(\d+)/(\w+)/(\d+)", name).groups()
    rule = _rule(config, mode)
    if rule.get("antialias"):
      found = bicubic.antialiased_matrix(int(size), int(target))
    else:
      offset = rule.get("offset", 0.0)
      found = bicubic.matrix(int(size), int(target), offset)
    np.testing.assert_allclose(found, arrays[name], rtol=0, atol=3e-5)


def test_the_register_rule_is_that_of_jax_image():
  table = np.random.default_rng(0).normal(size=(7, 7, 3)).astype(np.float32)
  found = bicubic.resize_table(table, (5, 9), antialias=True)
  expected = jax.image.resize(table, (5, 9, 3), "cubic")
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
