"""The zip for CVAT, read as CVAT reads it."""

import io
import json
import zipfile

import numpy as np
from PIL import Image

from tests.predict.annotation import items
from u2pl_jax.data import palettes
from u2pl_jax.predict.annotation import cvat, labels


def read(archive, name):
  return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def test_the_zip_is_that_of_segmentation_mask_1_1(tmp_path):
  written, masks = items.write(tmp_path)
  archive, described = cvat.write(written, items.LABELS, tmp_path)
  with zipfile.ZipFile(archive) as file:
    assert set(file.namelist()) == {
      "labelmap.txt",
      "ImageSets/Segmentation/default.txt",
      *(f"SegmentationClass/{name}.png" for name in masks),
      *(f"SegmentationObject/{name}.png" for name in masks),
    }
    lines = file.read("labelmap.txt").decode().splitlines()
    assert lines == [
      "# label:color_rgb:parts:actions",
      "background:0,0,0::",
      "cat:200,30,60::",
      "big dog:0,120,250::",
      "unsure:255,255,255::",
    ]
    listed = file.read("ImageSets/Segmentation/default.txt").decode()
    assert listed.splitlines() == list(masks)
    for name, mask in masks.items():
      colors = read(file, f"SegmentationClass/{name}.png")
      np.testing.assert_array_equal(colors, items.COLORS[mask])
  assert json.loads(described.read_text()) == [
    {"name": "cat", "color": "#c81e3c"},
    {"name": "big dog", "color": "#0078fa"},
    {"name": "unsure", "color": "#ffffff"},
  ]
  assert not list(tmp_path.glob("*.tmp"))


def test_each_label_is_an_object_and_the_background_none(tmp_path):
  """By the colors of PASCAL VOC: the first object red, the second green."""
  written, masks = items.write(tmp_path)
  archive, _ = cvat.write(written, items.LABELS, tmp_path)
  number_of = {color: i for i, color in enumerate(palettes.voc_palette(256))}
  with zipfile.ZipFile(archive) as file:
    for name, mask in masks.items():
      objects = read(file, f"SegmentationObject/{name}.png")
      numbers = np.array(
        [number_of[tuple(color)] for color in objects.reshape(-1, 3).tolist()]
      ).reshape(mask.shape)
      np.testing.assert_array_equal(numbers > 0, mask != 0)
      pairs = set(zip(mask[mask > 0].tolist(), numbers[mask > 0].tolist()))
      drawn = sorted(set(mask[mask > 0].tolist()))
      assert pairs == set(zip(drawn, range(1, 1 + len(drawn))))


def test_what_has_no_class_is_background_where_no_class_is(tmp_path):
  written, _ = items.write(tmp_path)
  names, palette = ("sky", "road", "car"), items.COLORS[:3].tolist()
  archive, _ = cvat.write(written, labels.make(names, palette), tmp_path)
  with zipfile.ZipFile(archive) as file:
    lines = file.read("labelmap.txt").decode().splitlines()
    assert lines[-1] == "background:0,0,0::"
    mask = written[0].read_mask()
    for folder in ("SegmentationClass", "SegmentationObject"):
      pixels = read(file, f"{folder}/{written[0].name}.png")
      is_black = ~pixels.any(axis=-1)
      np.testing.assert_array_equal(is_black, mask == 255)
