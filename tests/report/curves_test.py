import numpy as np
import pytest
from etils import epath

from tests.report import reported
from u2pl_jax.report import curves


def test_scalars_are_read_by_tag_in_order_of_steps(tmp_path):
  reported.write_events(tmp_path, {1: {"a": 0.5, "b/c": 2}, 3: {"a": -1.25}})
  read = curves.read_curves(epath.Path(tmp_path))
  assert read.keys() == {"a", "b/c"}
  np.testing.assert_array_equal(read["a"].steps, [1, 3])
  np.testing.assert_array_equal(read["a"].values, [0.5, -1.25])
  np.testing.assert_array_equal(read["b/c"].values, [2.0])


def test_a_step_run_again_counts_as_it_was_last(tmp_path):
  events = [{1: {"a": 1.0}, 2: {"a": 2.0}}, {2: {"a": 7.0}, 3: {"a": 3.0}}]
  for number, scalars in enumerate(events):
    reported.write_events(tmp_path / "new", scalars)
    (file,) = (tmp_path / "new").glob("events*")
    file.rename(tmp_path / f"events.out.tfevents.{number}.v2")
  curve = curves.read_curves(epath.Path(tmp_path))["a"]
  np.testing.assert_array_equal(curve.steps, [1, 2, 3])
  np.testing.assert_array_equal(curve.values, [1.0, 7.0, 3.0])


def test_what_a_killed_run_left_of_a_record_is_passed_over(tmp_path):
  reported.write_events(tmp_path, {step: {"a": step} for step in range(5)})
  (file,) = tmp_path.glob("events*")
  file.write_bytes(file.read_bytes()[:-3])
  curve = curves.read_curves(epath.Path(tmp_path))["a"]
  np.testing.assert_array_equal(curve.values, range(4))


def test_a_damaged_file_counts_up_to_the_damage(tmp_path):
  reported.write_events(tmp_path, {step: {"a": step} for step in range(9)})
  (file,) = tmp_path.glob("events*")
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 255
  file.write_bytes(content)
  values = curves.read_curves(epath.Path(tmp_path))["a"].values.tolist()
  assert 0 < len(values) < 9 and values == list(range(len(values)))


def test_pictures_are_no_curves(tmp_path):
  from clu import metric_writers

  writer = metric_writers.SummaryWriter(str(tmp_path))
  writer.write_images(1, {"crop/0": np.zeros((1, 4, 4, 3), np.uint8)})
  writer.write_scalars(1, {"a": np.nan})
  writer.close()
  read = curves.read_curves(epath.Path(tmp_path))
  assert read.keys() == {"a"} and np.isnan(read["a"].values)


def test_the_last_pictures_of_a_tag_are_read(tmp_path):
  import cv2
  from clu import metric_writers

  writer = metric_writers.SummaryWriter(str(tmp_path))
  for step in (1, 2):
    pictures = np.full((2, 1, 4, 5, 3), 10 * step, np.uint8)
    pictures[1] += 1
    writer.write_images(step, {f"batch/{i}": p for i, p in enumerate(pictures)})
  writer.write_images(3, {"crop/0": pictures[0]})
  writer.close()
  found = curves.read_pictures(epath.Path(tmp_path), "batch/")
  decoded = [cv2.imdecode(np.frombuffer(png, np.uint8), 1) for png in found]
  assert [picture.shape for picture in decoded] == [(4, 5, 3)] * 2
  assert [picture[0, 0, 0] for picture in decoded] == [20, 21]


def test_no_events_are_no_curves(tmp_path):
  assert curves.read_curves(epath.Path(tmp_path)) == {}


@pytest.mark.parametrize(
  ("count", "max_points", "length", "steps", "values"),
  [
    (3, 3, 1, [10, 20, 30], [0, 1, 2]),
    (4, 3, 2, [20, 40], [0.5, 2.5]),
    (5, 3, 2, [20, 40, 50], [0.5, 2.5, 4]),
    (7, 1, 7, [70], [3]),
  ],
)
def test_long_curves_become_means_of_blocks(
  count, max_points, length, steps, values
):
  curve = curves.Curve(
    10 * np.arange(1, count + 1), np.arange(count, dtype=float)
  )
  short, blocks = curves.block_means(curve, max_points)
  assert blocks == length
  np.testing.assert_array_equal(short.steps, steps)
  np.testing.assert_array_equal(short.values, values)


def test_a_block_with_nan_stays_nan():
  curve = curves.Curve(np.arange(4), np.array([1, np.nan, 3, 5]))
  short, _ = curves.block_means(curve, 2)
  np.testing.assert_array_equal(short.values, [np.nan, 4])
