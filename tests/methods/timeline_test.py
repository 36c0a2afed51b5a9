import jax
import pytest

from u2pl_jax.methods import timeline as timeline_lib

TIMELINE = timeline_lib.Timeline(steps_per_epoch=10, num_epochs=4)


def test_steps_follow_from_epochs():
  assert TIMELINE.total_steps == 40


def test_progress_moves_once_an_epoch_when_asked():
  progress = jax.jit(lambda step: TIMELINE.progress(step, "epoch"))
  assert [float(progress(s)) for s in (0, 9, 10, 39)] == [0, 0, 0.25, 0.75]


def test_progress_moves_at_every_step():
  progress = jax.jit(TIMELINE.progress)
  assert [float(progress(s)) for s in (0, 10, 39)] == [
    0,
    0.25,
    pytest.approx(39 / 40),
  ]


def test_progress_stays_at_the_start_when_asked():
  progress = jax.jit(lambda step: TIMELINE.progress(step, "never"))
  assert [float(progress(s)) for s in (0, 10, 39)] == [0, 0, 0]


@pytest.mark.parametrize(
  "changes, words",
  [({"num_epochs": 0}, "0 epochs"), ({"steps_per_epoch": 0}, "0 steps")],
)
def test_a_run_without_steps_is_refused(changes, words):
  settings = dict(steps_per_epoch=10, num_epochs=4) | changes
  with pytest.raises(ValueError, match=words):
    timeline_lib.Timeline(**settings)
