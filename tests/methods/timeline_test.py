import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods import timeline as timeline_lib


def make_timeline(**changes):
  settings = dict(
    steps_per_epoch=10, num_epochs=4, supervised_epochs=1, schedule_by="epoch"
  )
  return timeline_lib.Timeline(**(settings | changes))


def test_counts_follow_from_epochs():
  timeline = make_timeline()
  assert timeline.total_steps == 40
  assert timeline.first_semi_step == 10


def test_progress_moves_once_an_epoch():
  progress = jax.jit(make_timeline().progress)
  assert [float(progress(s)) for s in (0, 9, 10, 39)] == [0, 0, 0.25, 0.75]


def test_progress_moves_at_every_step_when_asked():
  progress = jax.jit(make_timeline(schedule_by="step").progress)
  assert [float(progress(s)) for s in (0, 10, 39)] == [
    0,
    0.25,
    pytest.approx(39 / 40),
  ]


def test_drop_percent_rises_from_80_to_100():
  assert float(timeline_lib.drop_percent(jnp.float32(0), 80)) == 80
  assert float(timeline_lib.drop_percent(jnp.float32(0.5), 80)) == 90
  assert float(timeline_lib.drop_percent(jnp.float32(1), 80)) == 100


def test_unreliable_percent_complements_drop_percent():
  for progress in np.float32([0, 0.3, 0.99]):
    total = timeline_lib.drop_percent(
      progress, 80.0
    ) + timeline_lib.unreliable_percent(progress, 20.0)
    assert float(total) == pytest.approx(100)


def decays(steps, first_epoch):
  decay = jax.jit(
    lambda step: timeline_lib.ema_decay(
      step, make_timeline(), max_decay=0.99, first_epoch=first_epoch
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


def test_ema_refuses_an_unknown_first_epoch():
  with pytest.raises(ValueError, match="teacher_first_epoch='later'"):
    timeline_lib.ema_decay(
      jnp.int32(3), make_timeline(), max_decay=0.9, first_epoch="later"
    )


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"num_epochs": 0}, "0 epochs"),
    ({"steps_per_epoch": 0}, "0 steps"),
    ({"supervised_epochs": 5}, "supervised_epochs=5"),
    ({"schedule_by": "year"}, "schedule_by='year'"),
  ],
)
def test_timeline_refuses(changes, words):
  with pytest.raises(ValueError, match=words):
    make_timeline(**changes)
