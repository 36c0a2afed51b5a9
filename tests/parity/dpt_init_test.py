"""A fresh network is drawn as UniMatch V2 draws it, before it reads a file."""

import json

import jax
import numpy as np

from tests import networks
from tests.parity import dpt_model_test, golden

every_file = golden.every_file_but("dpt_init", ("init",))
_MANY = 1000  # Values of an entry whose deviation says something.


@golden.once_per_input
def _draw(config_json):
  config = json.loads(str(config_json))
  model = networks.make(
    num_classes=config["nclass"],
    encoder=f"dinov2_vit{dpt_model_test.SIZES[config['size']]}14",
    decoder="dpt",
    rep_channels=0,
  )
  params = jax.jit(model.init_variables)(jax.random.key(0))["params"]
  return dpt_model_test.as_published(params)


@every_file
def test_names(path):
  arrays = golden.load(path)
  assert set(arrays["names"]) == _draw(arrays["config_json"]).keys()


@every_file
def test_spread_and_bounds(path):
  """Deviations of large entries within 3 %, constants exactly."""
  arrays = golden.load(path)
  drawn = _draw(arrays["config_json"])
  for name, (mean, std, low, high) in zip(
    arrays["names"], arrays["statistics"][0], strict=True
  ):
    value = drawn[str(name)]
    if low == high:
      np.testing.assert_array_equal(value, np.float32(mean), err_msg=name)
      continue
    assert abs(value.mean()) < 5 * std / np.sqrt(value.size), name
    if value.size < _MANY:
      continue
    np.testing.assert_allclose(value.std(), std, rtol=0.03, err_msg=name)
    if max(-low, high) < 1.8 * std:  # Uniform: nothing lies beyond the bound.
      bound = np.sqrt(3) * std * 1.03
      assert np.abs(value).max() < bound, name
      assert np.abs(value).max() > 0.95 * max(-low, high), name
