import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from clu import metric_writers
from tensorboard.backend.event_processing import event_accumulator

from u2pl_jax.training import bad_steps, quality, step_log


class RecordingWriter:
  """Keeps what is written."""

  def __init__(self):
    self.written = {}

  def write_scalars(self, step, scalars):
    self.written[step] = dict(scalars)


def make_log(lines, max_bad_steps=10, writer=None):
  writer = writer or RecordingWriter()
  log = step_log.StepLog(
    writer,
    total_steps=10,
    learning_rates={"encoder": lambda step: 0.1 * (10 - step)},
    class_names=("sky", "road"),
    bad_steps=bad_steps.BadSteps(max_bad_steps),
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


def test_shares_are_divided_and_left_out_where_there_are_no_pixels():
  log, writer = make_log([])
  share = quality.Share(jnp.asarray([1, 0]), jnp.asarray([4, 0]))
  none = quality.Share(jnp.asarray(0), jnp.asarray(0))
  log.add(1, losses(1) | {"taught_share": share, "taught/accuracy": none}, 4)
  assert writer.written[1]["taught_share/sky"] == 0.25
  assert "taught_share/road" not in writer.written[1]
  assert "taught/accuracy" not in writer.written[1]


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
    "step 2/10 (20%)  supervised 1.500  total 2.000  2 images/s  ETA 16 s"
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


def test_bad_steps_of_a_flush_are_one_line():
  lines = []
  log, writer = make_log(lines)
  log.add(1, losses(1), 4)
  log.add(2, losses(np.inf), 4)
  log.add(3, losses(1), 4)
  log.add(4, losses(np.nan), 4)
  log.add(5, losses(1), 4)
  log.flush()
  assert lines[1].startswith("step 5/10")
  assert lines[2:] == [
    "step 4: loss/supervised is nan; step not applied (1 in a row, stops at"
    " 10); 2 of the last 4 steps were not"
  ]
  assert np.isnan(writer.written[4]["loss/supervised"])


def test_too_many_bad_steps_in_a_row_stop_also_across_flushes():
  log, writer = make_log([], max_bad_steps=3)
  log.add(1, losses(1), 4)
  log.add(2, losses(np.nan), 4)
  log.flush()
  log.add(3, losses(np.nan), 4)
  log.add(4, losses(np.nan), 4)
  log.add(5, losses(1), 4)
  with pytest.raises(FloatingPointError, match="step 4: loss/supervised is"):
    log.flush()
  assert list(writer.written) == [1, 2, 3, 4]


def test_a_gradient_that_is_not_finite_is_a_bad_step():
  log, _ = make_log([], max_bad_steps=1)
  with pytest.raises(FloatingPointError, match="step 1: grad/norm is nan"):
    log.add(1, losses(1) | {"grad/norm": jnp.float32(np.nan)}, 4)


def test_tensorboard_takes_nan_and_infinity(tmp_path):
  events = metric_writers.SummaryWriter(str(tmp_path))
  log, _ = make_log([], writer=events)
  log.add(1, losses(np.nan), 4)
  log.add(2, losses(np.inf), 4)
  log.flush()
  events.close()
  loaded = event_accumulator.EventAccumulator(str(tmp_path))
  loaded.Reload()
  values = [
    float(tf.make_ndarray(event.tensor_proto))
    for event in loaded.Tensors("loss/supervised")
  ]
  assert np.isnan(values[0]) and values[1] == np.inf
