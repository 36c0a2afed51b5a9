"""Which image shows which class, and what is drawn of them."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden, tiny_net
from u2pl_jax.methods.u2pl_ael import confidence, presence

# Of the shares of single draws: all of them must agree, some hundred.
_STANDARD_ERRORS = 4.7


@golden.every_file("ael_bank")
def test_bits(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  present = jnp.asarray(arrays["present_initial"] > 0)
  steps = tiny_net.cases(arrays, "step")
  assert steps
  for step in steps:
    labels = step["pred"].astype(np.int32)
    area = (labels[..., None] == np.arange(config["K"])).sum((1, 2))
    np.testing.assert_array_equal(area, step["area"])
    shown = presence.shown_classes(labels, config["K"], config["present_area"])
    present = presence.write(present, step["image_id_partner_id"], shown)
    np.testing.assert_array_equal(present, step["present"])


@golden.once_per_input
def _draw(class_confidence, present):
  """[K, N_u] int, how often each pair is drawn, and the number of draws."""
  draws = 60_000
  draw = jax.jit(functools.partial(presence.draw, count=draws))
  classes, images = draw(jax.random.key(3), class_confidence, present > 0)
  count = np.zeros(present.shape, int)
  np.add.at(count, (classes, images), 1)
  return count, draws


@golden.every_file("ael_bank")
def test_draws(path):
  arrays = golden.load(path)
  expected = arrays["draw/probability"]
  count, draws = _draw(arrays["draw/class_confidence"], arrays["draw/present"])
  error = np.sqrt(np.maximum(expected * (1 - expected), 0) / draws)
  assert np.all(abs(count / draws - expected) <= _STANDARD_ERRORS * error)
  assert not np.any(count[expected == 0])


@golden.every_file("ael_bank")
def test_recorded_draws_are_of_the_recorded_probability(path):
  arrays = golden.load(path)
  draws = json.loads(str(arrays["config_json"]))["draws"]
  expected, count = arrays["draw/probability"], arrays["draw/count"]
  assert count.sum() == draws
  error = np.sqrt(np.maximum(expected * (1 - expected), 0) / draws)
  assert np.all(abs(count / draws - expected) <= _STANDARD_ERRORS * error)


@golden.every_file("ael_bank")
def test_probabilities_of_the_classes(path):
  arrays = golden.load(path)
  actual = confidence.class_probability(arrays["draw/class_confidence"])
  expected = arrays["draw/class_probability"]
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
