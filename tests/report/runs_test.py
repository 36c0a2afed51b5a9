import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests import tiny_network, toy_dataset, voc_tree
from tests.report import reported
from u2pl_jax.report import runs


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp("saved")
  tiny_network.save_run(folder)
  return folder


@pytest.fixture
def workdir(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "run")


def test_a_run_is_read_whole(workdir):
  reported.write_events(workdir, {1: {"crop/miou": 5.0}, 2: {"crop/miou": 7.0}})
  (workdir / "result.json").write_text(
    json.dumps(reported.RESULT | {"iou": {}})
  )
  run = runs.load_run(workdir, "last", None)
  assert run.name == "run"
  assert run.result["seconds"] == 3725.0
  assert run.network.class_names == tiny_network.NAMES
  assert "step 2" in run.network.origin
  protocol, curve = run.miou
  assert protocol == "crop"
  np.testing.assert_array_equal(curve.values, [5.0, 7.0])


def test_a_run_need_not_have_ended_nor_logged(workdir):
  run = runs.load_run(workdir, "best", "student")
  assert (run.result, run.curves, run.miou) == (None, {}, None)


def test_a_folder_without_a_run_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no run"):
    runs.load_run(tmp_path, "best", None)


@pytest.mark.parametrize(
  ("content", "why"), [("{", "Expecting"), ("{}", "lacks 'step'"), ("3", "")]
)
def test_a_damaged_result_is_named(workdir, content, why):
  (workdir / "result.json").write_text(content)
  with pytest.raises(ValueError, match=f"result.json is damaged .*{why}"):
    runs.load_run(workdir, "best", None)


def make_run(name, data="toy", **changes):
  network = dataclasses.replace(tiny_network.make_trained(), **changes)
  return reported.make_run(
    name, config={"data": {"name": data}}, network=network
  )


def test_runs_of_other_data_or_classes_are_refused():
  with pytest.raises(ValueError, match="runs/b.*'voc'.*'toy' of runs/a"):
    runs.tell_apart(make_run("a"), make_run("b", data="voc"))
  names = ("sky", "road", "tree", "house", "cat")
  with pytest.raises(ValueError, match="classes.*cat.*car.*runs/a"):
    runs.tell_apart(make_run("a"), make_run("b", class_names=names))


def test_runs_of_one_name_are_told_apart_by_their_folders():
  one = make_run("a")
  other = dataclasses.replace(one, workdir="elsewhere/a")
  names = [run.name for run in runs.tell_apart(one, other)]
  assert names == ["runs/a", "elsewhere/a"]
  assert runs.tell_apart(one, make_run("b"))[0] is one


def test_the_dataset_of_a_run_may_be_elsewhere_but_has_its_classes(tmp_path):
  dataset, folder = toy_dataset.make(tmp_path), str(tmp_path / "data")
  config = {"data": {"name": dataset.name, "data_dir": "nowhere"}}
  network = make_run("a", class_names=voc_tree.CLASS_NAMES).network
  assert runs.open_dataset(config, network, folder) == dataset
  with pytest.raises(FileNotFoundError, match="nowhere.* by --data_dir"):
    runs.open_dataset(config, network, None)
  other = make_run("a").network
  with pytest.raises(ValueError) as caught:
    runs.open_dataset(config, other, folder)
  message = str(caught.value)
  assert message.startswith(f"{other.origin}: its classes are not those of")
  assert str(dataset.path) in message and "class 0 is sky, not" in message
  assert "--data_dir" in message and "\n" not in message
