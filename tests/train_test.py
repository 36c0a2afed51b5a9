"""The loop end to end, on a small synthetic dataset and a tiny network."""

import json
import runpy

import jax
import numpy as np
import pytest

from data_prep import synthetic
from u2pl_jax import checkpoint, experiment, sharding, train

# 3 epochs of 2 steps, the first supervised, evaluated after each.
SETTINGS = {
  "data.crop_size": (33, 33),
  "data.num_workers": 1,
  "data.split": "16",
  "model.width": 4,
  "model.decoder_channels": 8,
  "model.low_level_channels": 4,
  "model.rep_channels": 6,
  "model.aspp_rates": (1,),
  "contrast.bank_capacity": 64,
  "contrast.bank_capacity_class0": 64,
  "train.epochs": 3,
  "train.log_every_steps": 2,
  "semi.supervised_epochs": 1,
  "eval.crop_size": (33, 33),
  "eval.batch_size": 8,
  "eval.every_epochs": 1,
  "eval.num_images": 2,
}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  synthetic.prepare(
    folder, num_labeled=16, num_unlabeled=17, num_val=9, image_size=32
  )
  return folder


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  make = sharding.create_mesh
  monkeypatch.setattr(sharding, "create_mesh", lambda: make(jax.devices()[:1]))


@pytest.fixture
def make_config(data_dir):
  def make(arg="", **changes):
    config = runpy.run_path("configs/synthetic.py")["get_config"](arg)
    settings = dict(SETTINGS)
    if config.method == "suponly":
      settings["model.rep_channels"] = 0
    settings |= {"data.data_dir": str(data_dir)} | changes
    config.update_from_flattened_dict(settings)
    return config

  return make


def last_state(config, workdir):
  exp = experiment.create_experiment(config)
  with checkpoint.create_manager(
    workdir / "checkpoints", keep_last=1, read_only=True
  ) as manager:
    step = manager.latest_step()
    state, _ = checkpoint.restore(manager, step, experiment.abstract_state(exp))
  return jax.device_get(state)


def assert_bit_identical(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Folder of the one uninterrupted run that several tests look at."""
  return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def whole_run(finished, make_config):
  if not (finished / "result.json").exists():
    train.train_and_evaluate(make_config(), finished)
  return finished


def test_workdir_holds_config_events_checkpoints_and_result(whole_run):
  config = json.loads((whole_run / "config.json").read_text())
  assert config["contrast"]["num_anchors"] == 50
  assert list(whole_run.glob("events.out.tfevents.*"))
  steps = {
    int(path.name) for path in (whole_run / "checkpoints").glob("[0-9]*")
  }
  assert {4, 6} <= steps
  result = json.loads((whole_run / "result.json").read_text())
  assert set(result) == {
    "step", "protocol", "miou", "iou", "pixel_accuracy", "best_miou",
    "seconds", "images_per_second", "method", "recipe", "seed", "versions",
  }  # fmt: skip
  assert result["step"] == 6
  assert set(result["iou"]) == set(synthetic.CLASS_NAMES)
  assert 0 <= result["miou"] <= result["best_miou"] <= 100
  assert (result["method"], result["recipe"]) == ("u2pl", "paper")


def read_tags(workdir):
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(
    str(workdir), size_guidance={"tensors": 0}
  )
  events.Reload()
  tags = events.Tags()["tensors"]
  return {tag: [e.step for e in events.Tensors(tag)] for tag in tags}


def test_every_step_and_every_evaluation_is_logged(whole_run):
  tags = read_tags(whole_run)
  of_both_phases = [
    "loss/supervised", "loss/total", "learning_rate/encoder",
    "learning_rate/head",
  ]  # fmt: skip
  of_the_semi_phase = [
    "loss/unsupervised", "loss/contrastive", "semi/drop_percent",
    "semi/drop_threshold", "semi/reliable_fraction", "contrast/anchors/ball",
    "bank/fill/ring",
  ]  # fmt: skip
  for tag in of_both_phases:
    assert tags[tag] == [1, 2, 3, 4, 5, 6], tag
  for tag in of_the_semi_phase:
    assert tags[tag] == [3, 4, 5, 6], tag
  for tag in ("crop/miou", "crop/iou/ball", "crop/0", "crop/1"):
    assert tags[tag] == [2, 4, 6], tag


def test_resumed_run_equals_the_uninterrupted_one(
  whole_run, make_config, tmp_path, monkeypatch
):
  def die_at_step_5(line):
    if line.startswith("step 5:") or line.startswith("step 6/"):
      raise KeyboardInterrupt

  monkeypatch.setattr(train, "show", die_at_step_5)
  with pytest.raises(KeyboardInterrupt):
    train.train_and_evaluate(make_config(), tmp_path / "run")
  monkeypatch.undo()
  make = sharding.create_mesh
  monkeypatch.setattr(sharding, "create_mesh", lambda: make(jax.devices()[:1]))
  lines = []
  monkeypatch.setattr(train, "show", lines.append)
  result = train.train_and_evaluate(make_config(), tmp_path / "run")
  assert "resuming at step 4" in lines
  assert_bit_identical(
    last_state(make_config(), tmp_path / "run"),
    last_state(make_config(), whole_run),
  )
  assert (
    result["miou"]
    == json.loads((whole_run / "result.json").read_text())["miou"]
  )


def test_a_finished_run_is_not_trained_again(whole_run, make_config):
  before = json.loads((whole_run / "result.json").read_text())
  after = train.train_and_evaluate(make_config(), whole_run)
  assert after["miou"] == before["miou"]


def test_evaluation_of_the_last_checkpoint_repeats_the_score(
  whole_run, make_config
):
  result = json.loads((whole_run / "result.json").read_text())
  again = train.evaluate(make_config(), whole_run, "last")
  assert (again["miou"], again["step"]) == (result["miou"], 6)
  best = train.evaluate(make_config(), whole_run, "best")
  assert best["miou"] == pytest.approx(result["best_miou"], abs=1e-3)


def test_another_config_is_refused_by_key(whole_run, make_config):
  with pytest.raises(ValueError, match="seed=0, not 1"):
    train.train_and_evaluate(make_config(**{"seed": 1}), whole_run)
  with pytest.raises(ValueError, match="model.width=4, not 8"):
    train.evaluate(make_config(**{"model.width": 8}), whole_run, "last")


def test_evaluating_an_empty_workdir_says_so(make_config, tmp_path):
  with pytest.raises(FileNotFoundError, match="holds no run"):
    train.evaluate(make_config(), tmp_path, "best")


@pytest.mark.parametrize("arg", ["method=suponly", "recipe=reference"])
def test_other_methods_train_to_the_end(arg, make_config, tmp_path):
  result = train.train_and_evaluate(
    make_config(arg, **{"train.epochs": 2}), tmp_path
  )
  assert result["step"] == 4
  assert f"{result['method']} {result['recipe']}" in (
    "suponly paper",
    "u2pl reference",
  )


def test_nan_stops_with_step_and_term_and_keeps_the_last_checkpoint(
  make_config, tmp_path
):
  config = make_config(
    "method=suponly",
    **{"optim.learning_rate": 1e37, "checkpoint.every_steps": 1},
  )
  with pytest.raises(FloatingPointError) as caught:
    train.train_and_evaluate(config, tmp_path)
  message = str(caught.value)
  assert "loss/supervised is" in message or "grad/norm is" in message
  assert "last good checkpoint" in message and "\n" not in message
  assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"contrast.low_rank": 8}, "low_rank=8 with 8 classes"),
    ({"data.batch_size_l": 24}, "16 .*24|24.*16"),
    ({"data.batch_size_u": 24}, "17.*24|24.*17"),
    ({"data.split": "17"}, "no split '17'"),
    ({"data.name": "nothing"}, "no prepared dataset 'nothing'"),
    ({"semi.reliable": "perhaps"}, "reliable='perhaps'"),
    ({"augment.mode": "blur"}, "augment.mode='blur'"),
    ({"model.encoder": "vgg"}, "model.encoder"),
    ({"loss.kind": "dice"}, "loss.kind='dice'"),
    ({"semi.supervised_epochs": 9}, "supervised_epochs=9"),
    ({"train.log_every_steps": 0}, "train.log_every_steps=0"),
    ({"contrast.positive": "all"}, "contrast.positive='all'"),
    ({"contrast.divide_by": "two"}, "contrast.divide_by='two'"),
    ({"model.rep_channels": 0}, "model.rep_channels=0"),
  ],
)
def test_bad_values_are_refused_before_anything_is_written(
  changes, words, make_config, tmp_path
):
  with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
    train.train_and_evaluate(make_config(**changes), tmp_path / "run")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run").exists()


def test_a_missing_pretrained_file_leaves_no_workdir(make_config, tmp_path):
  config = make_config(**{"model.pretrained": str(tmp_path / "none.npz")})
  with pytest.raises(FileNotFoundError, match="none.npz"):
    train.train_and_evaluate(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()
