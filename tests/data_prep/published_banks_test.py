import random

import numpy as np
import pytest

from data_prep import convert_torch_resnet, published_banks
from tests import torch_weights
from u2pl_jax.models import pretrained

torch = pytest.importorskip("torch")
NAMES = [f"image_{i}.png" for i in range(6)]


def make_content(seed=1):
  """As the published code saves it: columns of a shuffled list."""
  random.seed(seed)
  shuffled = random.sample(NAMES, len(NAMES))
  present = torch.zeros(3, 6)
  for column, name in enumerate(shuffled):
    present[1, column] = name in (NAMES[0], NAMES[4])
  criterion = torch.tensor([[0.1, 0.2, 0.3], [9, 9, 9], [9, 9, 9]])
  return {"class_criterion": criterion, "cutmix_bank": present}


@pytest.fixture
def unlabeled(tmp_path):
  path = tmp_path / "unlabeled.txt"
  path.write_text("\n".join(NAMES) + "\n")
  return str(path)


@pytest.mark.parametrize("seed", [1, 5])
def test_columns_are_brought_into_the_order_of_the_list(seed, unlabeled):
  banks = published_banks.read_banks(make_content(seed), unlabeled, seed)
  np.testing.assert_allclose(banks["memory/confidence"], [0.1, 0.2, 0.3])
  expected = np.zeros((3, 6), bool)
  expected[1, [0, 4]] = True
  np.testing.assert_array_equal(banks["memory/present"], expected)


def test_without_the_list_the_confidences_are_kept_alone():
  banks = published_banks.read_banks(make_content(), None, 1)
  assert banks.keys() == {"memory/confidence"}


def test_what_does_not_fit_is_refused(unlabeled, tmp_path):
  with pytest.raises(ValueError, match="checkpoint holds no cutmix_bank"):
    published_banks.read_banks({}, unlabeled, 1)
  content = make_content()
  content["cutmix_bank"] = content["cutmix_bank"][:, :5]
  with pytest.raises(ValueError, match="names 6 images, but .* is of 5"):
    published_banks.read_banks(content, unlabeled, 1)
  with pytest.raises(FileNotFoundError):
    published_banks.read_banks(content, str(tmp_path / "none.txt"), 1)


def test_other_files_hold_nothing():
  assert published_banks.read_banks({"weight": torch.zeros(1)}, None, 1) == {}


def test_a_converted_checkpoint_starts_networks_and_classes(
  unlabeled, tmp_path
):
  state = {
    f"module.{name}": torch.from_numpy(np.array(value))
    for name, value in torch_weights.state_dict(
      encoder="resnet50", stem="deep", width=4
    ).items()
  }
  content = make_content() | {
    "teacher_state": state,
    "model_state": state,
    "epoch": 200,
    "best_miou": np.float64(0.5),
  }
  source, target = tmp_path / "ckpt.pth", tmp_path / "out.npz"
  torch.save(content, source)
  convert_torch_resnet.convert(source, target, unlabeled=unlabeled)
  shapes = torch_weights.shapes(encoder="resnet50", stem="deep", width=4)
  found = pretrained.load_pretrained(target, shapes)
  assert "decoder" in found.parts
  assert set(found.remembered) == {"confidence", "present"}
