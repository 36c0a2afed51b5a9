"""An encoder from elsewhere, without batch normalization, trains and predicts.

Its sides must be multiples of 14.
"""

import numpy as np
import pytest
from PIL import Image

from tests import tiny_run
from u2pl_jax import experiment, train
from u2pl_jax.models import network
from u2pl_jax.tools import predict

SETTINGS = {
  "data.crop_size": (28, 42),
  "eval.crop_size": (28, 42),
  "train.epochs": 2,
  "contrast.weight": 0.0,
}


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
  folder = tiny_run.make_dataset(tmp_path_factory.mktemp("data"))
  sections = network.sections("tests.toy_encoder", "tests.toy_decoder")

  def make(**changes):
    return tiny_run.make_config(folder, **(SETTINGS | changes)) | sections

  return make


def test_it_trains_and_predicts_images_of_any_size(make_config, tmp_path):
  workdir, photographs = tmp_path / "run", tmp_path / "in"
  result = train.train_and_evaluate(make_config(), workdir)
  assert (result["step"], result["network"]) == (4, "teacher")
  photographs.mkdir()
  sizes = {"small": (9, 11), "odd": (33, 45), "fitting": (28, 42)}
  rng = np.random.default_rng(0)
  for name, size in sizes.items():
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(photographs / f"{name}.png")
  arguments = (f"--workdir={workdir}", f"--images={photographs}")
  assert predict.main([*arguments, f"--out={tmp_path / 'out'}"]) == 0
  for name, size in sizes.items():
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / f"{name}.png"))
    assert mask.shape == size


@pytest.mark.parametrize("key", ["data.crop_size", "eval.crop_size"])
def test_a_crop_that_it_cannot_take_is_refused_by_key(make_config, key):
  config = make_config(**{key: (28, 33)})
  with pytest.raises(ValueError, match=rf"{key}=\(28, 33\): .*multiples of 14"):
    experiment.create_experiment(config)
