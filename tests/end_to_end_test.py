"""From a tree to a trained network, through the real command lines."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests import trees

pytestmark = pytest.mark.slow

# Of a network that compiles in seconds.
TINY = {
  "encoder.width": 4,
  "decoder.channels": 8,
  "decoder.low_level_channels": 4,
  "decoder.rep_channels": 6,
  "decoder.aspp_rates": (1,),
  "contrast.bank_capacity": 64,
  "contrast.bank_capacity_class0": 64,
  "train.epochs": 2,
  "semi.supervised_epochs": 1,
  "eval.every_epochs": 2,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Runs a command in a process of its own; all share compiled programs."""
  compiled = tmp_path_factory.mktemp("compiled")
  env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
    "JAX_COMPILATION_CACHE_DIR": str(compiled),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }

  def run(*command):
    finished = subprocess.run(
      [sys.executable, *command], env=env, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout

  return run


def prepare(run, place, *flags):
  return run(
    *("-m", "data_prep.folder", f"--root={place / 'tree'}", "--name=mine"),
    *(f"--data_dir={place / 'data'}", *flags),
  )


def train(run, place, **changes):
  """Trains on the dataset for two steps; returns the result."""
  settings = {**TINY, "data.data_dir": place / "data", **changes}
  run(
    *("main.py", "--config=configs/folder.py:mine,split=1_8"),
    f"--workdir={place / 'run'}",
    *(f"--config.{key}={value}" for key, value in settings.items()),
  )
  return json.loads((place / "run/result.json").read_text())


@pytest.mark.parametrize("layout", trees.LAYOUTS)
def test_a_tree_of_any_layout_trains(run, tmp_path, layout):
  write, flags = trees.LAYOUTS[layout]
  write(tmp_path / "tree")
  assert "recognized" in prepare(run, tmp_path, *flags)
  result = train(run, tmp_path)
  assert result["step"] == 2 and 0 <= result["miou"] <= 100


def test_one_labeled_image_of_two_classes_trains_and_predicts(run, tmp_path):
  """Black and white masks of which all but two are withheld."""
  rng = np.random.default_rng(0)
  for folder in ("images", "masks"):
    (tmp_path / "tree" / folder).mkdir(parents=True)
  for i in range(4):
    pixels = rng.integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"tree/images/{i}.png")
    if i < 2:
      mask = (pixels[..., 0] > 127) * np.uint8(255)
      Image.fromarray(mask).save(tmp_path / f"tree/masks/{i}.png")
  prepare(run, tmp_path)
  result = train(run, tmp_path)
  assert len(result["iou"]) == 2
  run(
    *("-m", "u2pl_jax.tools.predict", f"--workdir={tmp_path / 'run'}"),
    *(f"--images={tmp_path / 'tree/images'}", f"--out={tmp_path / 'out'}"),
  )
  masks = sorted((tmp_path / "out/masks").glob("*.png"))
  assert [mask.stem for mask in masks] == list("0123")
  assert set(np.unique(np.asarray(Image.open(masks[0])))) <= {0, 1}
