"""Predictions for Label Studio, unpacked bit by bit as it does."""

import json
import urllib.parse
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.predict.annotation import items, unpacked
from u2pl_jax.predict.annotation import label_studio


def test_a_row_is_packed_as_worked_out_by_hand():
  """4 values of 7, then 12 of 0, both of 4 channels."""
  packed = label_studio.pack(np.array([[7, 0, 0, 0]], np.uint8))
  bits = "".join(f"{byte:08b}" for byte in packed)
  expected = (
    f"{16:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    + "1" + "00" + "011" + "00000111"
    + "1" + "01" + "1011" + "00000000"
  )  # fmt: skip
  assert bits.startswith(expected)
  assert len(bits) - len(expected) < 8 and "1" not in bits[len(expected) :]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 65), (300, 200)])
@pytest.mark.parametrize("kind", ["empty", "full", "noise", "half"])
def test_packed_masks_are_unpacked_to_the_same(shape, kind):
  """Runs of all lengths, those above 65,536 values among them."""
  mask = np.zeros(shape, np.uint8)
  if kind == "full":
    mask[:] = 255
  elif kind == "half":
    mask[shape[0] // 2 :] = 255
  elif kind == "noise":
    mask[np.random.default_rng(0).random(shape) < 0.3] = 255
  packed = label_studio.pack(mask)
  np.testing.assert_array_equal(unpacked.unpack(packed, shape), mask)


def test_tasks_hold_a_region_of_each_label_that_is_drawn(tmp_path):
  written, masks = items.write(tmp_path)
  tasks, interface = label_studio.write(written, items.LABELS, tmp_path)
  found = json.loads(tasks.read_text())
  assert len(found) == len(masks)
  values = {label.name: label.value for label in items.LABELS}
  for task, (name, mask) in zip(found, masks.items()):
    address = urllib.parse.urlparse(task["data"]["image"])
    assert address.path == "/data/local-files/"
    (path,) = urllib.parse.parse_qs(address.query)["d"]
    assert path == f"images/{name}.jpg"
    (prediction,) = task["predictions"]
    seen = set()
    for region in prediction["result"]:
      assert (region["original_height"], region["original_width"]) == mask.shape
      assert region["type"] == "brushlabels" and region["image_rotation"] == 0
      assert (region["from_name"], region["to_name"]) == ("tag", "image")
      (label,) = region["value"]["brushlabels"]
      pixels = unpacked.unpack(region["value"]["rle"], mask.shape)
      np.testing.assert_array_equal(pixels == 255, mask == values[label])
      seen.add(values[label])
    assert seen == set(np.unique(mask).tolist()) - {0}
  elements = ElementTree.parse(interface).getroot().iter("Label")
  assert [(e.get("value"), e.get("background")) for e in elements] == [
    ("cat", "#c81e3c"), ("big dog", "#0078fa"), ("unsure", "#ffffff")
  ]  # fmt: skip
