"""Configs of runs on a small dataset."""

import runpy

import pytest

from data_prep import synthetic


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  synthetic.prepare(
    folder, num_labeled=16, num_unlabeled=16, num_val=8, image_size=32
  )
  return str(folder)


@pytest.fixture
def make_config(data_dir):
  def make(arg="", **changes):
    config = runpy.run_path("configs/synthetic.py")["get_config"](arg)
    settings = {"data.data_dir": data_dir, "data.split": "16"}
    config.update_from_flattened_dict(settings | changes)
    return config.to_dict()

  return make
