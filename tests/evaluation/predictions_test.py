import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from u2pl_jax.evaluation import predictions
from u2pl_jax.runtime import sharding


def read(path):
  with Image.open(path) as picture:
    return picture.mode, np.asarray(picture)


def save(tmp_path, formats, labels, **batch):
  mesh = sharding.create_mesh(devices=jax.devices()[:2])
  saver = predictions.Saver(
    epath.Path(tmp_path), formats, ("a", "town/b"), [(0, 0, 0), (9, 8, 7)]
  )
  saver(batch, sharding.to_global({"labels": labels}, mesh)["labels"])


def test_padding_is_cut_and_the_image_that_fills_up_left_out(tmp_path):
  labels = np.zeros((2, 5, 4), np.uint8)
  labels[0, 1:3, 1:3] = [[0, 1], [1, 1]]  # 3 rows to spare: 1 above, 2 below.
  record, size = np.array([1, -1]), np.array([[2, 2], [5, 4]], np.int32)
  save(tmp_path, ("index", "color"), labels, record=record, size=size)
  files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png"))
  assert files == ["color/town/b.png", "index/town/b.png"]
  mode, index = read(tmp_path / "index/town/b.png")
  assert mode == "L" and index.tolist() == [[0, 1], [1, 1]]
  with Image.open(tmp_path / "color/town/b.png") as picture:
    assert picture.convert("RGB").getpixel((1, 0)) == (9, 8, 7)


def test_cityscapes_wants_its_own_ids(tmp_path):
  labels = np.full((2, 1, 2), 13, np.uint8)
  labels[0, 0, 1] = 18
  record, size = np.array([0, 1]), np.array([[1, 2], [1, 2]], np.int32)
  save(tmp_path, ("cityscapes",), labels, record=record, size=size)
  assert read(tmp_path / "cityscapes/a.png")[1].tolist() == [[26, 33]]


def test_formats_are_read_from_a_list():
  assert predictions.parse_formats("", 8) == ()
  assert predictions.parse_formats("color,cityscapes", 19) == (
    "color",
    "cityscapes",
  )


@pytest.mark.parametrize("text", ["png", "index,png", "cityscapes"])
def test_formats_that_cannot_be_are_refused(text):
  with pytest.raises(ValueError, match=f"--save_predictions={text}"):
    predictions.parse_formats(text, 8)
