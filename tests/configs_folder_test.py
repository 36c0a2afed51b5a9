"""The config of any dataset: what it fills in, from which images."""

import jax
import numpy as np
import pytest
from etils import epath

from configs import folder as folder_config
from data_prep import examples, writer
from u2pl_jax import experiment
from u2pl_jax.data import datasets
from u2pl_jax.models import memory
from u2pl_jax.runtime import devices, workdir


def prepare(data_dir, size=(40, 56), num_classes=3, num_train=6, num_val=2):
  """A dataset of images of one size, with a split "2"."""

  def example(name):
    rng = np.random.default_rng(len(name))
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    ids = rng.integers(0, num_classes, size).astype(np.uint8)
    image = examples.File(name, lambda: examples.encode_png(pixels))
    return examples.RawExample(
      name, image, examples.Mask(name, lambda: examples.Labels(ids))
    )

  train = [f"train_{i}" for i in range(num_train)]
  source = writer.Source(
    class_names=[f"class {i}" for i in range(num_classes)],
    palette=[(i, i, i) for i in range(num_classes)],
    examples={
      "train": [example(i) for i in train],
      "val": [example(f"val_{i}") for i in range(num_val)],
    },
    split_lists={"2": (train[:2], train[2:])},
    parameters={},
  )
  with writer.preparation_lock(data_dir):
    writer.write_dataset(source, name="mine", data_dir=data_dir)


def make(data_dir, arg="mine,split=2", **changes):
  config = folder_config.get_config(arg)
  config.update_from_flattened_dict({"data.data_dir": str(data_dir), **changes})
  return config.to_dict()


def complete(data_dir, arg="mine,split=2", **changes):
  config = folder_config.complete(make(data_dir, arg, **changes))
  return workdir.flatten(config)


@pytest.fixture
def one_device(monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 1)


@pytest.mark.usefixtures("one_device")
def test_sizes_follow_from_the_images(tmp_path):
  prepare(tmp_path, size=(40, 130))
  config = complete(tmp_path)
  assert config["data.crop_size"] == (33, 97)
  assert config["eval.protocol"] == "whole"
  assert config["eval.crop_size"] == (33, 97)
  assert config["data.batch_size_l"] == config["data.batch_size_u"] == 8
  assert config["train.epochs"] == 1500
  assert config["semi.supervised_epochs"] == 375
  assert config["eval.every_epochs"] == 125
  assert config["eval.batch_size"] == 2


@pytest.mark.usefixtures("one_device")
def test_large_images_are_evaluated_in_windows(tmp_path):
  prepare(tmp_path, size=(1100, 2000), num_train=3, num_val=1)
  config = complete(tmp_path)
  assert config["data.crop_size"] == (97, 97)
  assert config["eval.protocol"] == "slide"
  assert config["eval.crop_size"] == (97, 97)
  assert config["eval.batch_size"] == 1


@pytest.mark.parametrize("num_classes, rank", [(2, 1), (3, 2), (4, 3), (9, 3)])
def test_few_classes_lower_the_rank(tmp_path, num_classes, rank):
  prepare(tmp_path, num_classes=num_classes)
  assert complete(tmp_path)["contrast.low_rank"] == rank


def test_what_is_set_stays(tmp_path):
  prepare(tmp_path)
  changes = {
    "data.crop_size": (17, 17),
    "data.batch_size_l": 2,
    "train.epochs": 5,
    "semi.supervised_epochs": 0,
    "contrast.low_rank": 1,
    "eval.protocol": "crop",
  }
  config = complete(tmp_path, **changes)
  assert {key: config[key] for key in changes} == changes
  assert config["data.batch_size_u"] == 8


@pytest.mark.parametrize("arg", ["", ",method=suponly", ",recipe=reference"])
def test_an_experiment_can_be_made_of_it(tmp_path, arg):
  prepare(tmp_path, num_classes=2)
  config = folder_config.complete(make(tmp_path, f"mine,split=2{arg}"))
  exp = experiment.create_experiment(config)
  assert exp.dataset.num_classes == 2
  left = workdir.flatten(config).items()
  assert not [key for key in folder_config.AUTOMATIC.items() if key in left]


def test_the_only_split_need_not_be_named(tmp_path):
  prepare(tmp_path)
  assert complete(tmp_path, "mine")["data.split"] == "2"
  lists = datasets.dataset_path("mine", tmp_path) / "lists"
  (lists / "3").mkdir()
  with pytest.raises(ValueError, match="split= is missing; .* has 2, 3; e.g."):
    complete(tmp_path, "mine")


def test_a_dataset_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no prepared dataset 'mine'"):
    complete(tmp_path)


@pytest.mark.parametrize(
  "arg", [None, "split=2", "a,b", "mine,pretrained=a,pretrained=b"]
)
def test_an_argument_without_one_dataset_is_refused(arg):
  with pytest.raises(ValueError, match="must hold the name of one prepared"):
    folder_config.get_config(arg)


@pytest.mark.usefixtures("one_device")
def test_a_run_that_starts_from_another_one_has_its_network(tmp_path):
  prepare(tmp_path)
  changes = {
    "encoder.width": 8,
    "decoder.aspp_rates": (3,),
    "data.crop_size": (33, 41),
    "data.batch_size_l": 3,
    "optim.learning_rate": 0.02,
    "contrast.bank_capacity": 99,
  }
  first = folder_config.complete(make(tmp_path, **changes))
  names = [f"class {i}" for i in range(3)]
  workdir.claim(epath.Path(tmp_path / "run"), first, names, [(0, 0, 0)] * 3)
  arg = f"mine,split=2,pretrained={tmp_path / 'run'}"
  second = complete(tmp_path, arg)
  assert {key: second[key] for key in changes} == changes
  assert second["model.pretrained"] == str(tmp_path / "run")
  with pytest.raises(FileNotFoundError, match="holds no run"):
    make(tmp_path, f"mine,split=2,pretrained={tmp_path}")


@pytest.mark.usefixtures("one_device")
def test_batches_are_as_large_as_memory_allows(tmp_path, monkeypatch):
  prepare(tmp_path)
  monkeypatch.setattr(memory, "kept_bytes", lambda model, size: 1000)
  for free, expected in ((10**9, 8), (16_000, 4), (9_000, 2), (10, 2)):
    monkeypatch.setattr(devices, "free_bytes", lambda free=free: free)
    assert complete(tmp_path)["data.batch_size_l"] == expected
  parts = {"optim.accumulate_steps": 2}
  assert complete(tmp_path, **parts)["data.batch_size_l"] == 4


def test_batches_divide_among_the_devices(tmp_path, monkeypatch):
  prepare(tmp_path)
  monkeypatch.setattr(jax, "device_count", lambda: 3)
  config = complete(tmp_path)
  assert config["data.batch_size_l"] == 6
  assert config["eval.batch_size"] == 3
