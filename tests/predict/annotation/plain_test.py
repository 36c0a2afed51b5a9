"""Masks for any editor: the ids, in colors that tell them apart."""

import json

import numpy as np
from PIL import Image

from tests.predict.annotation import items
from u2pl_jax.predict.annotation import plain


def test_masks_hold_ids_and_show_colors(tmp_path):
  written, masks = items.write(tmp_path)
  plain.write(written, items.LABELS, tmp_path / "first")
  for item in written:
    mask = Image.open(tmp_path / f"first/masks/{item.name}.png")
    np.testing.assert_array_equal(mask, masks[item.name])
    np.testing.assert_array_equal(
      mask.convert("RGB"), items.COLORS[masks[item.name]]
    )
    copy = tmp_path / f"first/images/{item.name}.jpg"
    assert copy.read_bytes() == item.image.read_bytes()
  content = json.loads((tmp_path / "first/classes.json").read_text())
  assert content == {
    "names": ["background", "cat", "big dog"],
    "palette": [[0, 0, 0], [200, 30, 60], [0, 120, 250]],
    "ignore_colors": [[255, 255, 255]],
    "values": {"0": 0, "1": 1, "2": 2, "255": "ignore"},
  }
