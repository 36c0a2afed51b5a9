"""Learning rates, percents and EMA decay as published, to 1e-9 relative.

Computed in float64 for that; a training step computes them in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.methods.u2pl import schedule
from u2pl_jax.training import optim

_HEAD_FACTORS = {"voc": 10, "city": 1}
_POWER = 0.9
_MAX_DECAY = 0.99


def _groups(path, field):
  """The arrays of every group GROUP/... that has the field, at least one."""
  arrays = golden.load(path)
  names = [n.partition("/")[0] for n in arrays if n.endswith(f"/{field}")]
  assert names
  for name in names:
    prefix = f"{name}/"
    fields = [n for n in arrays if n.startswith(prefix)]
    yield name, {n.removeprefix(prefix): arrays[n] for n in fields}


@golden.every_file("schedules")
def test_learning_rates(path):
  for name, recorded in _groups(path, "lr_head_used"):
    base, steps = float(recorded["base_lr"]), recorded["iteration"]
    length = int(recorded["max_iter"])
    rates = {
      "lr_backbone_used": (base, steps),
      "lr_head_used": (base * _HEAD_FACTORS[name], steps),
      # The published log shows the rate of the step before; here that of the
      # step itself.
      "lr_logged": (base, np.maximum(steps - 1, 0)),
    }
    with jax.enable_x64(True):
      for field, (rate, counts) in rates.items():
        schedule = optim.poly_schedule(rate, length, _POWER)
        actual = schedule(jnp.asarray(counts, jnp.int64))
        assert actual.dtype == jnp.float64
        np.testing.assert_allclose(
          actual, recorded[field], rtol=1e-9, err_msg=field
        )


@golden.every_file("schedules")
def test_percents(path):
  """The first ones are the settings, the others follow from them."""
  for _, recorded in _groups(path, "alpha_t_by_epoch"):
    drop, alpha = (
      recorded[f"{name}_by_epoch"] for name in ("drop_percent", "alpha_t")
    )
    assert len(drop) == len(alpha)
    steps_per_epoch = int(recorded["iters_per_epoch"])
    timeline = timeline_lib.Timeline(
      steps_per_epoch=steps_per_epoch, num_epochs=len(drop)
    )
    assert timeline.total_steps == recorded["max_iter"]
    first_steps = np.arange(len(drop)) * steps_per_epoch
    for steps in (first_steps, first_steps + steps_per_epoch - 1):
      progress = timeline.progress(steps, "epoch")
      actual = schedule.drop_percent(progress, drop[0])
      np.testing.assert_allclose(actual, drop, rtol=1e-9)
      actual = schedule.unreliable_percent(progress, alpha[0])
      np.testing.assert_allclose(actual, alpha, rtol=1e-9)


def _semi_steps(recorded):
  """The first semi-supervised step, and steps of an epoch."""
  steps_per_epoch = int(recorded["iters_per_epoch"])
  return int(recorded["sup_only_epoch"]) * steps_per_epoch, steps_per_epoch


@golden.every_file("schedules")
def test_phases(path):
  for _, recorded in _groups(path, "phase"):
    steps = recorded["iteration"]
    first_step, steps_per_epoch = _semi_steps(recorded)
    is_semi = steps >= first_step
    is_later = steps >= first_step + steps_per_epoch
    phase = is_semi.astype(int) + is_later
    np.testing.assert_array_equal(phase, recorded["phase"])
    # Before that the teacher is left alone, and no decay is computed.
    measured = recorded["decay_measured"][~is_semi]
    np.testing.assert_allclose(measured, np.ones_like(measured), rtol=1e-9)
    assert np.isnan(recorded["decay_formula"][~is_semi]).all()


@golden.every_file("schedules")
def test_ema_decays(path):
  """Recipe `reference` copies through the first semi epoch."""
  for _, recorded in _groups(path, "decay_measured"):
    steps = recorded["iteration"]
    first_step, steps_per_epoch = _semi_steps(recorded)
    is_semi = steps >= first_step
    for first_epoch, field in (
      ("average", "decay_formula"),
      ("copy", "decay_measured"),
    ):
      with jax.enable_x64(True):
        actual = schedule.ema_decay(
          jnp.asarray(steps[is_semi], jnp.int64),
          first_step=first_step,
          steps_per_epoch=steps_per_epoch,
          max_decay=_MAX_DECAY,
          first_epoch=first_epoch,
        )
      assert actual.dtype == jnp.float64
      np.testing.assert_allclose(
        actual, recorded[field][is_semi], rtol=1e-9, atol=1e-12
      )
