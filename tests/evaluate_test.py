"""Evaluation of a finished run: protocols, networks, predictions."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from tests import tiny_run
from u2pl_jax import evaluate, train
from u2pl_jax.predict import trained


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def make_config(data_dir):
  sizes = {"data.batch_size_l": 8, "data.batch_size_u": 8}
  return lambda **changes: tiny_run.make_config(data_dir, **(sizes | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_config):
  """A run and what its last evaluation said."""
  workdir = tmp_path_factory.mktemp("finished") / "run"
  return workdir, train.train_and_evaluate(make_config(), workdir)


def read_result(workdir):
  return json.loads((workdir / "result.json").read_text())


def test_the_last_checkpoint_repeats_the_score(finished, make_config):
  workdir, result = finished
  again = evaluate.evaluate(make_config(), workdir, "last")
  assert (again["miou"], again["step"]) == (result["miou"], result["step"])


def test_the_best_checkpoint_has_the_best_score(finished, make_config):
  workdir, result = finished
  best = evaluate.evaluate(make_config(), workdir, "best")
  assert best["miou"] == pytest.approx(result["best_miou"], abs=1e-3)


def test_whole_images_of_the_crops_size_score_the_same(finished, make_config):
  # The images have 32 pixels: the crop of 33 pads them, "whole" does not.
  workdir, _ = finished
  crop = evaluate.evaluate(
    make_config(**{"eval.crop_size": (32, 32)}), workdir, "last"
  )
  whole = evaluate.evaluate(
    make_config(**{"eval.protocol": "whole"}), workdir, "last"
  )
  assert whole["iou"] == crop["iou"]
  assert (crop["protocol"], whole["protocol"]) == ("crop", "whole")


def test_each_protocol_stands_in_the_result(finished, make_config):
  workdir, _ = finished
  slide = {
    "eval.protocol": "slide",
    "eval.crop_size": (20, 20),
    "eval.scales": (0.75, 1.0),
    "eval.flip": True,
  }
  evaluate.evaluate(make_config(), workdir, "last", network="student")
  evaluate.evaluate(make_config(**slide), workdir, "last")
  result = read_result(workdir)
  name = "slide_0.75_1_flip"
  assert (result["protocol"], result["network"]) == (name, "teacher")
  evaluations = result["evaluations"]
  assert evaluations[f"{name}_20x20, teacher of step 6"] == {
    f"{name}/{key}": result[key] for key in ("miou", "iou", "pixel_accuracy")
  }
  assert set(evaluations["crop_33x33, student of step 6"]) == {
    "crop/miou", "crop/iou", "crop/pixel_accuracy"
  }  # fmt: skip
  assert result["best_protocol"] == "crop"


def test_predictions_are_saved_in_the_images_own_size(finished, make_config):
  workdir, _ = finished
  config = make_config(**{"eval.protocol": "whole"})
  result = evaluate.evaluate(
    config, workdir, "last", save_predictions="index,color"
  )
  folder = workdir / "predictions" / "whole_teacher_step_6"
  files = sorted(path.name for path in (folder / "index").iterdir())
  assert len(files) == 9
  for name in files:
    index = np.asarray(Image.open(folder / "index" / name))
    assert index.shape == (32, 32) and index.max() < 8
    with Image.open(folder / "color" / name) as color:
      assert color.mode == "P"
      np.testing.assert_array_equal(np.asarray(color), index)
  assert result["protocol"] == "whole"


@pytest.mark.parametrize(
  "changes, options, message",
  [
    ({}, {"save_predictions": "index"}, "eval.protocol=crop sees the center"),
    ({}, {"save_predictions": "gif"}, "'gif' is none of index, color"),
    ({}, {"save_predictions": "cityscapes"}, "needs its 19 classes"),
    ({"eval.protocol": "all"}, {}, "eval.protocol='all'"),
    ({"eval.scales": (0.0,)}, {}, "eval.scales"),
    ({"eval.max_shapes": 0}, {}, "eval.max_shapes=0"),
    ({"eval.stride_rate": 1.5}, {}, "eval.stride_rate=1.5"),
    ({"encoder.width": 8}, {}, "encoder.width=4, not 8"),
  ],
)
def test_what_cannot_be_evaluated_is_refused(
  finished, make_config, changes, options, message
):
  workdir, _ = finished
  with pytest.raises(ValueError, match=message):
    evaluate.evaluate(make_config(**changes), workdir, "last", **options)


def test_a_folder_without_a_run_is_refused(tmp_path, make_config):
  with pytest.raises(FileNotFoundError, match="holds no run"):
    evaluate.evaluate(make_config(), tmp_path, "last")


def test_a_shared_network_scores_as_in_its_run(finished, make_config, tmp_path):
  workdir, result = finished
  network = trained.load_run(workdir, "last")
  trained.save_folder(network, tmp_path / "net", "")
  # What the config says of a network does not count.
  config = make_config(**{"encoder.width": 8})
  scores = evaluate.evaluate_weights(config, tmp_path / "net")
  assert scores.miou == pytest.approx(result["miou"], abs=1e-3)


def test_a_shared_network_of_other_classes_is_refused(
  finished, make_config, tmp_path
):
  workdir, _ = finished
  network = trained.load_run(workdir, "last")
  names = (*network.class_names[:-1], "dragon")
  network = dataclasses.replace(network, class_names=names)
  trained.save_folder(network, tmp_path / "net", "")
  with pytest.raises(ValueError, match="its classes.*is dragon, not"):
    evaluate.evaluate_weights(make_config(), tmp_path / "net")
