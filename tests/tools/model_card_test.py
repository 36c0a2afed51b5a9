"""What the card of a shared network tells."""

import json

import pytest
from etils import epath

from tests import tiny_network, tiny_run
from u2pl_jax.predict import trained
from u2pl_jax.tools import model_card

EVALUATIONS = {
  "crop_33x33, teacher of step 1": {
    "crop/miou": 51.5,
    "crop/iou": {"sky": 40.25, "car": None},
    "crop/pixel_accuracy": 80.125,
  },
  "whole, student of step 2": {
    "whole/miou": 12.0,
    "whole/iou": {"sky": 12.0},
    "whole/pixel_accuracy": 13.0,
  },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "run"
  config = tiny_run.make_config(folder, "encoder=resnet18")
  tiny_network.save_run(folder, config=config)
  return folder


def write_result(run, evaluations, **best):
  best = {"best_protocol": "crop", "best_step": 1, "best_miou": 51.5} | best
  result = {"evaluations": evaluations} | best
  (run / "result.json").write_text(json.dumps(result))


def write(run, **changes):
  network = trained.load_run(run)
  arguments = {"name": "a net", "license_id": "mit", "is_watched": True}
  return model_card.write(network, run, **(arguments | changes))


def test_a_card_tells_data_method_scores_and_licenses(run):
  write_result(run, EVALUATIONS)
  card = write(run)
  assert card.startswith("---\nlicense: mit\nlibrary_name: u2pl_jax\n")
  for words in (
    "# a net",
    "encoder `resnet18`",
    "decoder `deeplab`; the teacher of step 1.",
    "5 classes",
    "sky, road, tree, house, car",
    "Dataset `tiny`, split `16`",
    "`u2pl`, recipe `paper`, seed 0: 3 epochs",
    "8 labeled and 8 unlabeled\ncrops of 33 x 33 pixels",
    "random weights",
    "| crop_33x33 | 51.5 | 80.125 |",
    "| sky | 40.25 |",
    "| car | - |",
    'name: "mIoU, crop_33x33", value: 51.5}',
    "| weights | mit |",
    "--weights=FOLDER",
  ):
    assert words in card, words
  assert "12.0" not in card  # Of another network.


def test_the_best_score_is_told_where_no_other_is(run):
  write_result(run, {})
  card = write(run)
  assert "| crop | 51.5 | - |" in card and "| class |" not in card
  assert "has not been evaluated" in write(run, is_watched=False)
  write_result(run, {}, best_step=2)
  assert "has not been evaluated" in write(run)


def test_a_run_that_has_not_ended_has_no_scores(run):
  (run / "result.json").unlink(missing_ok=True)
  assert model_card.find_scores(epath.Path(run), "x of step 1", True) == []
  card = write(run)
  assert "has not been evaluated" in card and "model-index" not in card


def test_the_metadata_are_yaml(run):
  yaml = pytest.importorskip("yaml")
  write_result(run, EVALUATIONS)
  metadata = yaml.safe_load(write(run, name='a "net"').split("---\n")[1])
  (model,) = metadata["model-index"]
  assert model["name"] == 'a "net"'
  (result,) = model["results"]
  assert result["dataset"] == {"name": "tiny", "type": "tiny", "split": "val"}
  assert result["metrics"][0]["value"] == 51.5
