import math

import numpy as np
import pytest

from tests import tiny_run
from u2pl_jax import experiment, validation
from u2pl_jax.evaluation import metrics


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
  data_dir = tiny_run.make_dataset(tmp_path_factory.mktemp("data"))
  sizes = {"data.batch_size_l": 8, "data.batch_size_u": 8}
  return experiment.create_experiment(tiny_run.make_config(data_dir, **sizes))


def test_a_result_is_rounded_and_null_where_there_is_nothing(exp):
  iou = np.array([12.34567, math.nan] + [50.0] * 6)
  scores = metrics.Scores(
    iou=iou, miou=40.12345, pixel_accuracy=70.0, absent=(1,)
  )
  progress = {"seconds": 1.23456, "images_per_second": None, "step": 6}
  result = validation.make_result(
    exp, 6, "teacher", scores, (4, 41.23456), "crop", progress
  )
  names = exp.dataset.class_names
  assert result["iou"] == dict(zip(names, [12.346, None] + [50.0] * 6))
  assert (result["miou"], result["best_miou"]) == (40.123, 41.235)
  assert (result["best_step"], result["best_protocol"]) == (4, "crop")
  assert (result["seconds"], result["images_per_second"]) == (1.235, None)
  assert (result["step"], result["protocol"]) == (6, "crop")
  assert result["milliseconds_per_step"] is None
  assert {"jax", "flax", "numpy"} <= result["versions"].keys()


def test_a_step_takes_its_images_by_the_speed(exp):
  scores = metrics.Scores(
    iou=np.full(8, 50.0), miou=50.0, pixel_accuracy=70.0, absent=()
  )
  progress = {"seconds": 1.0, "images_per_second": 64.0, "step": 6}
  last = exp.timeline.total_steps
  result = validation.make_result(
    exp, last, "teacher", scores, None, "crop", progress
  )
  assert result["milliseconds_per_step"] == 250.0  # Of 8 + 8 images.
