import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax import step_log


class RecordingWriter:
  """Keeps what is written."""

  def __init__(self):
    self.written = {}

  def write_scalars(self, step, scalars):
    self.written[step] = dict(scalars)


def make_log(lines):
  writer = RecordingWriter()
  log = step_log.StepLog(
    writer,
    total_steps=10,
    learning_rates={"encoder": lambda step: 0.1 * (10 - step)},
    class_names=("sky", "road"),
    show=lines.append,
  )
  return log, writer


def losses(value):
  return {"loss/supervised": jnp.float32(value), "loss/total": jnp.float32(2)}


def test_writes_one_point_a_step_at_flush():
  log, writer = make_log([])
  log.add(1, losses(1), 4)  # The first is written at once.
  log.add(2, losses(2), 4)
  log.add(3, losses(3), 4)
  assert list(writer.written) == [1]
  log.flush()
  assert list(writer.written) == [1, 2, 3]
  assert writer.written[3]["loss/supervised"] == 3


def test_learning_rate_is_that_of_the_update():
  log, writer = make_log([])
  log.add(1, losses(1), 4)
  assert writer.written[1]["learning_rate/encoder"] == pytest.approx(1.0)


def test_per_class_metrics_are_named_by_class():
  log, writer = make_log([])
  log.add(1, losses(1) | {"bank/fill": jnp.asarray([0.25, 0.5])}, 4)
  assert writer.written[1]["bank/fill/sky"] == 0.25
  assert writer.written[1]["bank/fill/road"] == 0.5


def test_progress_line_has_losses_speed_and_remaining_time(monkeypatch):
  now = iter([100.0, 102.0, 102.0])
  monkeypatch.setattr(step_log.time, "monotonic", lambda: next(now))
  lines = []
  log, _ = make_log(lines)
  log.add(1, losses(1), 4)
  log.add(2, losses(1.5), 4)
  log.flush()
  assert lines[0] == "step 1/10 (10%)  supervised 1.000  total 2.000"
  assert lines[1] == (
    "step 2/10 (20%)  supervised 1.500  total 2.000  2 images/s  ETA 16s"
  )
  assert log.images_per_second == 2


def test_time_before_restart_does_not_count(monkeypatch):
  now = iter([0.0, 50.0, 51.0, 51.0])
  monkeypatch.setattr(step_log.time, "monotonic", lambda: next(now))
  log, _ = make_log([])
  log.add(1, losses(1), 4)
  log.restart_clock()
  log.add(2, losses(1), 4)
  log.flush()
  assert log.images_per_second == 4


def test_a_new_phase_starts_its_own_speed(monkeypatch):
  now = iter([0.0, 1.0, 1.0, 60.0, 64.0, 64.0])
  monkeypatch.setattr(step_log.time, "monotonic", lambda: next(now))
  lines = []
  log, _ = make_log(lines)
  log.add(1, losses(1), 4)
  log.add(2, losses(1), 4)
  log.flush()
  log.add(3, losses(1), 8)
  assert np.isnan(log.images_per_second)
  log.add(4, losses(1), 8)
  log.flush()
  assert log.images_per_second == 2


def test_flushing_nothing_does_nothing():
  lines = []
  log, _ = make_log(lines)
  log.flush()
  assert not lines and np.isnan(log.images_per_second)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_with_step_and_term(value):
  log, _ = make_log([])
  log.add(1, losses(1), 4)
  log.add(2, losses(1), 4)
  log.add(3, losses(value), 4)
  with pytest.raises(FloatingPointError, match="step 3: loss/supervised is"):
    log.flush()


def test_a_gradient_that_is_not_finite_stops():
  log, _ = make_log([])
  with pytest.raises(FloatingPointError, match="step 1: grad/norm is nan"):
    log.add(1, losses(1) | {"grad/norm": jnp.float32(np.nan)}, 4)


@pytest.mark.parametrize(
  "seconds, text", [(5.4, "5s"), (65, "1m05s"), (3720, "1h02m")]
)
def test_remaining_time_is_readable(seconds, text):
  assert step_log._format_seconds(seconds) == text
