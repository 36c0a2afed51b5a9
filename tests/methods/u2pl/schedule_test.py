import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods.u2pl import schedule


def test_drop_percent_rises_from_80_to_100():
  assert float(schedule.drop_percent(jnp.float32(0), 80)) == 80
  assert float(schedule.drop_percent(jnp.float32(0.5), 80)) == 90
  assert float(schedule.drop_percent(jnp.float32(1), 80)) == 100


def test_unreliable_percent_complements_drop_percent():
  for progress in np.float32([0, 0.3, 0.99]):
    total = schedule.drop_percent(progress, 80.0)
    total += schedule.unreliable_percent(progress, 20.0)
    assert float(total) == pytest.approx(100)


def decays(steps, first_epoch):
  decay = jax.jit(
    lambda step: schedule.ema_decay(
      step,
      first_step=10,
      steps_per_epoch=10,
      max_decay=0.99,
      first_epoch=first_epoch,
    )
  )
  return [float(decay(step)) for step in steps]


def test_ema_copies_at_the_first_semi_step_then_averages_more_and_more():
  np.testing.assert_allclose(
    decays([10, 11, 12, 13], "average"), [0, 1 / 2, 2 / 3, 3 / 4], rtol=1e-6
  )


def test_ema_decay_is_capped():
  assert decays([10 + 200], "average") == [pytest.approx(0.99)]


def test_ema_copies_through_the_first_semi_epoch_in_the_published_code():
  np.testing.assert_allclose(
    decays([10, 15, 19, 20, 21], "copy"),
    [0, 0, 0, 1 - 1 / 11, 1 - 1 / 12],
    rtol=1e-6,
  )
