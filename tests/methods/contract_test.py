"""A method from elsewhere trains through the public loop, with no edit."""

import json

import numpy as np
import pytest

from tests import finished_run, tiny_run
from u2pl_jax import evaluate, experiment, methods, train
from u2pl_jax.runtime import checkpoint, distributed

ARG = "method=tests.toy_method"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def config(data_dir):
  return tiny_run.make_config(data_dir, ARG, **{"toy.weight": 0.25})


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  """The folder of a whole run, and its result."""
  workdir = tmp_path_factory.mktemp("toy")
  return workdir, train.train_and_evaluate(config, workdir)


def test_its_settings_are_a_section_of_the_config(config):
  assert config["toy"] == {"weight": 0.25}
  with pytest.raises(ValueError, match="toy.weight=-1: must be >= 0"):
    experiment.create_experiment(config | {"toy": {"weight": -1}})


def test_it_trains_to_the_end_and_its_teacher_counts(finished):
  _, result = finished
  assert (result["step"], result["network"]) == (6, "teacher")
  assert 0 <= result["miou"] <= 100


def test_its_metrics_and_pictures_are_shown(finished):
  workdir, _ = finished
  tags = finished_run.read_tags(workdir)
  for tag in ("loss/consistency", "toy/sure", "toy/decay"):
    assert tags[tag] == [1, 2, 3, 4, 5, 6]
  assert tags["crop/0"] == [2, 4, 6]


def test_it_resumes_bit_exactly(finished, config, tmp_path, monkeypatch):
  def die_at_step_5(line):
    if line.startswith("step 6/"):
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(distributed, "show", die_at_step_5)
    with pytest.raises(KeyboardInterrupt):
      train.train_and_evaluate(config, tmp_path)
  with checkpoint.open_manager(
    tmp_path / "checkpoints", keep_last=1, read_only=True
  ) as manager:
    assert manager.latest_step() == 4
  train.train_and_evaluate(config, tmp_path)
  states = [
    finished_run.state_of(config, folder) for folder in (tmp_path, finished[0])
  ]
  finished_run.assert_bit_identical(*states)


def test_it_evaluates_either_network(finished, config):
  workdir, result = finished
  scores = [
    evaluate.evaluate(config, workdir, "last", network=network)["miou"]
    for network in (None, "teacher", "student")
  ]
  assert scores[0] == scores[1] == result["miou"]
  evaluations = json.loads((workdir / "result.json").read_text())["evaluations"]
  assert "crop_33x33, student of step 6" in evaluations
  assert np.isfinite(scores[2])


def test_a_method_that_does_not_exist_is_named():
  with pytest.raises(ValueError, match="method='nothing': expected one of"):
    methods.find("nothing")
  with pytest.raises(ValueError, match="method='tests.nothing': No module"):
    methods.find("tests.nothing")


@pytest.mark.parametrize("name", methods.names())
def test_pseudo_labels_of_every_method_can_be_reviewed(data_dir, name):
  exp = tiny_run.create(data_dir, f"method={name}")
  for phase in exp.programs.phases:
    assert (phase.method.review is not None) == phase.uses_unlabeled
