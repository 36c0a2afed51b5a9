"""The published contrastive loss with its random draws, over many seeds."""

import functools

import jax
import numpy as np

from tests.parity import contrast_replay, golden
from u2pl_jax.methods.u2pl import contrast


@functools.cache
def _make_draws(options):
  """losses(keys, bank, rep, ...): corrected and published pairing, compiled."""

  def draw(bank, rep, teacher, pixels, key):
    _, plan, _ = contrast.prepare(key, bank, *teacher, pixels, options)
    _, original_plan = contrast_replay.pair_by_position(plan)
    return {
      "corrected": contrast.compute_loss(rep, plan, options),
      "original": contrast.compute_loss(rep, original_plan, options),
    }

  @jax.jit
  def draws(keys, *inputs):
    return jax.lax.map(functools.partial(draw, *inputs), keys)

  return draws


@golden.once_per_input
def _draw(config_json, queue_size, count, *inputs):
  """`count` losses of either pairing, all from an empty bank."""
  rep, teacher, pixels = contrast_replay.make_inputs(*inputs)
  max_keys = pixels.is_labeled.size
  options = contrast_replay.make_options(config_json, max_keys)
  bank = contrast_replay.make_bank(queue_size, rep.shape[-1], max_keys)
  keys = jax.random.split(jax.random.key(0), int(count))
  losses = _make_draws(options)(keys, bank, rep, teacher, pixels)
  return jax.tree.map(np.float64, losses)


@golden.every_file("contra_stat")
def test_mean_and_spread_of_the_draws(path):
  arrays = golden.load(path)
  settings = "config_json", "queue_size", "n_seeds"
  names = settings + contrast_replay.INPUTS
  for pairing, losses in _draw(*(arrays[name] for name in names)).items():
    mean, deviation, error_of_mean = (
      arrays[f"loss_{pairing}_{name}"] for name in ("mean", "std", "sem")
    )
    # README, section 6: within 4 combined standard errors.
    count = len(losses)
    error = losses.mean() - mean
    combined = np.hypot(error_of_mean, losses.std() / np.sqrt(count))
    np.testing.assert_array_less(abs(error), 4 * combined + 1e-12)
    # A standard deviation is known to its sqrt(2 n)-th part, the difference
    # of two to the sqrt(n)-th; four times that again.
    allowed = 4 / np.sqrt(count)
    np.testing.assert_allclose(losses.std(), deviation, rtol=allowed, atol=1e-6)
    expected = deviation / np.sqrt(arrays["n_seeds"])
    np.testing.assert_allclose(error_of_mean, expected, rtol=1e-2)
