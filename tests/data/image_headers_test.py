"""Pixels that are refused, by what the header says of them."""

import numpy as np
import pytest
from PIL import Image

from tests import picture_files
from u2pl_jax.data import image_files


def bands(count, dtype=np.uint8):
  return np.arange(2 * 3 * count).reshape(2, 3, count).astype(dtype)


def name_less(kind, count):
  """JPEG 2000 whose box that names the channels is gone."""
  options = {"irreversible": False, "num_resolutions": 1}
  content = picture_files.encode(Image.fromarray(bands(count)), kind, **options)
  assert content.count(b"cdef") == 1
  return content.replace(b"cdef", b"free")


REFUSED = {
  "near infrared": (picture_files.tiff(bands(4), 2), "has 4 bands"),
  "named other": (picture_files.tiff(bands(4), 2, extra=[0]), "has 4 bands"),
  "by Pillow": (
    picture_files.encode(Image.new("RGBX", (3, 2)), "TIFF"),
    "has 4 bands",
  ),
  "two bands": (picture_files.tiff(bands(2), 1), "has 2 bands"),
  "five": (picture_files.tiff(bands(5), 2, extra=[0, 0]), "has 5 bands"),
  "five, one alpha": (
    picture_files.tiff(bands(5), 2, extra=[2, 0]),
    "has 5 bands",
  ),
  "three without color": (
    picture_files.tiff(bands(3, np.uint16), 1, extra=[0, 0]),
    "has 3 bands",
  ),
  "deep": (picture_files.tiff(bands(4, np.uint16), 2), "has 4 bands"),
  "planes": (
    picture_files.tiff(bands(4), 2, extra=[0], planar=[2]),
    "has 4 bands",
  ),
  "JPEG 2000": (name_less("JPEG2000", 4), "has 4 bands"),
  "floats": (picture_files.tiff(bands(1, np.float32), 1), "floating-point"),
  "floats in color": (
    picture_files.tiff(bands(3, np.float32), 2),
    "floating-point",
  ),
  "signed": (picture_files.tiff(bands(1, np.int8), 1), "with a sign"),
  "32 bits": (picture_files.tiff(bands(3, np.uint32), 2), "32 bits a channel"),
  "deep CMYK": (picture_files.tiff(bands(4, np.uint16), 5), "save it as RGB"),
  "deep planes": (
    picture_files.tiff(bands(3, np.uint16), 2, planar=[2]),
    "interleaved",
  ),
  "CIELAB": (picture_files.tiff(bands(3), 8), "CIELAB"),
  "thumbnail": (picture_files.tiff(bands(3), 2, subfile=[1]), "a thumbnail"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_right_is_refused_in_one_line(kind):
  content, message = REFUSED[kind]
  for value_range in (None, (0, 100)):
    with pytest.raises(image_files.UnreadableError) as caught:
      image_files.decode(content, value_range, name="a.tif")
    found = str(caught.value)
    assert found.startswith("a.tif: ") and "\n" not in found
    assert message in found and ("save" in found)


@pytest.mark.parametrize("extra", [1, 2])
def test_a_fourth_band_that_is_called_alpha_is_read(extra):
  samples = bands(4)
  samples[..., 3] = 255
  decoded = image_files.decode(picture_files.tiff(samples, 2, extra=[extra]))
  np.testing.assert_array_equal(decoded.pixels, samples[..., :3])
