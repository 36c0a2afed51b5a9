import jax.numpy as jnp
import numpy as np
import pytest

from tests.report import reported
from u2pl_jax.methods.u2pl import partition
from u2pl_jax.report import curves, thresholds


def draw_entropies(seed=0):
  rng = np.random.default_rng(seed)
  return (rng.random((50, 60)) ** 2 * np.log(5)).astype(np.float32)


def count(entropies):
  return sum(thresholds.count_entropies(each, 5) for each in entropies)


def test_histograms_hold_every_pixel_but_nan():
  entropy = np.array([-1e-7, 0, 0.5, np.log(5), np.log(5) + 1e-6, np.nan])
  assert thresholds.count_entropies(entropy, 5).sum() == 5


@pytest.mark.parametrize(
  ("config", "percent"),
  [({"semi": {"drop_percent": 70.0}}, 70), ({"semi": {}}, 80), ({}, 80)],
)
def test_without_a_logged_threshold_it_is_a_percentile(config, percent):
  entropies = [draw_entropies(seed) for seed in range(3)]
  run = reported.make_run(config=config)
  chosen = thresholds.choose_threshold(run, count(entropies))
  bin_width = np.log(5) / thresholds.NUM_BINS
  expected = np.percentile(np.stack(entropies), percent)
  assert chosen.value == pytest.approx(expected, abs=bin_width)
  assert chosen.kept == pytest.approx(percent / 100)
  source = f"the {percent}th percentile of all evaluated pixels"
  assert chosen.source == source


def test_the_last_logged_threshold_comes_first():
  curve = curves.Curve(np.array([900, 1000]), np.array([0.3, 0.7]))
  run = reported.make_run(curves={"semi/drop_threshold": curve})
  entropy = draw_entropies()
  chosen = thresholds.choose_threshold(run, count([entropy]))
  assert chosen.value == 0.7
  assert chosen.kept == pytest.approx((entropy < 0.7).mean(), abs=2e-3)
  assert "step 1,000" in chosen.source


def test_training_logs_the_threshold_under_this_name():
  entropy = jnp.asarray(draw_entropies()[None])
  valid = jnp.ones(entropy.shape, bool)
  split = partition.partition_by_entropy(
    entropy,
    valid,
    drop_percent=80.0,
    unreliable_percent=20.0,
    reliable="below_unreliable",
  )
  logged = partition.summarize(split, valid)
  value = float(logged[thresholds.TAG])
  np.testing.assert_array_equal(split.kept, entropy < value)
