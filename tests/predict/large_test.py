"""What an image takes to decode."""

import cv2
import numpy as np
import pytest
from PIL import Image

from u2pl_jax.predict import large

GRAY = Image.new("L", (10, 20))


@pytest.mark.parametrize(
  "name, image, count",
  [
    ("a.jpg", GRAY, 14),
    ("a.png", GRAY.convert("P"), 14),
    ("a.tif", GRAY.convert("RGB"), 14),
    ("a.png", Image.fromarray(np.zeros((9, 9), np.uint16)), 14),
    ("a.png", GRAY.convert("RGBA"), 31),
    ("a.webp", GRAY.convert("RGB"), 31),
  ],
)
def test_conversions_take_more_memory(name, image, count, tmp_path):
  image.save(tmp_path / name)
  assert large.bytes_to_decode(tmp_path / name) == count


def test_transparency_in_16_bits_takes_most(tmp_path):
  path = tmp_path / "a.png"
  cv2.imwrite(str(path), np.zeros((9, 9, 4), np.uint16))
  assert large.bytes_to_decode(path) == 76


def test_files_that_are_no_images_are_left_to_reading(tmp_path):
  (tmp_path / "a.png").write_bytes(b"no")
  assert large.bytes_to_decode(tmp_path / "a.png") == 14
