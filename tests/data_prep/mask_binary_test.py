"""Black and white masks, whose soft edges are cut at a threshold."""

import numpy as np
import pytest
from PIL import Image

from data_prep import examples
from tests import drawn_masks

BITS = np.uint8([[0, 255, 255], [255, 0, 0]])
SOFT = np.uint8([[0, 1, 127, 128, 129, 254, 255]])
CUT_AT_128 = np.uint8([[0, 0, 0, 1, 1, 1, 1]])


def binary(threshold=None):
  return drawn_masks.of_names(2, mask_values="binary", threshold=threshold)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P", "LA", "RGBA"])
def test_black_and_white_are_two_classes(mode):
  labels = drawn_masks.read(Image.fromarray(BITS).convert(mode), binary())
  np.testing.assert_array_equal(labels.ids, BITS // 255)
  assert not labels.conversions and labels.png is None


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_soft_edges_are_cut_at_the_threshold_and_counted(mode):
  image = Image.fromarray(SOFT).convert(mode)
  labels = drawn_masks.read(image, binary())
  np.testing.assert_array_equal(labels.ids, CUT_AT_128)
  assert labels.conversions == ("soft edges cut at 128",)
  labels = drawn_masks.read(image, binary(129))
  np.testing.assert_array_equal(labels.ids, [[0, 0, 0, 0, 1, 1, 1]])
  assert labels.conversions == ("soft edges cut at 129",)
  labels = drawn_masks.read(image, binary(1))
  np.testing.assert_array_equal(labels.ids, [[0, 1, 1, 1, 1, 1, 1]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_white_of_16_bits_is_65535(kind):
  image = np.uint16([[0, 128 * 257 - 1, 128 * 257, 65535]])
  labels = drawn_masks.read(image, binary(), kind=kind)
  np.testing.assert_array_equal(labels.ids, [[0, 0, 1, 1]])
  assert labels.conversions == ("16 bits to 8", "soft edges cut at 128")
  hard = drawn_masks.read(np.uint16([[0, 65535]]), binary(), kind=kind)
  assert hard.conversions == ("16 bits to 8",)
  # Such files also hold 0 to 255.
  small = drawn_masks.read(np.uint16([[0, 255]]), binary(), kind=kind)
  np.testing.assert_array_equal(small.ids, [[0, 1]])


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_formats_that_change_values_do_for_black_and_white(mode, kind):
  bits = np.zeros((32, 48), np.uint8)
  bits[8:24, 16:40] = 255
  image = Image.fromarray(bits).convert(mode)
  labels = drawn_masks.read(image, binary(), kind=kind, quality=90)
  np.testing.assert_array_equal(labels.ids, bits // 255)


@pytest.mark.parametrize("values", [[0, 1], [0, 1, 2, 3], [0, 38, 75], [0, 60]])
def test_ids_are_not_taken_for_black(values):
  highest = max(values)
  message = (
    f"holds no value above {highest}, .* --mask_values=ids .* "
    f"--threshold={highest}"
  )
  with pytest.raises(examples.ProblemError, match=message):
    drawn_masks.read(np.uint8([values]), binary())
  ids = drawn_masks.read_ids(np.uint8([values]), binary(highest))
  np.testing.assert_array_equal(ids, [[0] * (len(values) - 1) + [1]])


def test_all_black_and_faint_edges_are_black():
  for image in (np.zeros((3, 4), np.uint8), np.uint8([[0, 30, 60, 90, 30]])):
    assert not drawn_masks.read_ids(image, binary()).any()


@pytest.mark.parametrize(
  "image, options, message",
  [
    (drawn_masks.RGB, {}, r"color \[9, 0, 20.\] .* binary masks are black and"),
    (
      drawn_masks.with_palette(BITS // 255, [(0, 0, 0), (128, 0, 0)]),
      {},
      r"color \[128, 0, 0\] \(3 pixels\); .* --mask_values=ids by index",
    ),
    (
      np.full((8, 8, 3), (0, 200, 0), np.uint8),
      {"kind": "JPEG"},
      "binary masks are black and white",
    ),
    (np.int32([[0, -1, 255]]), {"kind": "TIFF"}, "values of -1 to 255, which"),
    (np.int32([[0, 70000]]), {"kind": "TIFF"}, "values of 0 to 70000, which"),
    (Image.new("LA", (4, 4), (255, 9)), {}, "is transparent in places"),
    (Image.new("RGBA", (4, 4), (0, 0, 0, 9)), {}, "is transparent in places"),
  ],
  ids=["colors", "palette", "JPEG", "negative", "large", "LA", "RGBA"],
)
def test_other_masks_are_refused(image, options, message):
  with pytest.raises(examples.ProblemError, match=message):
    drawn_masks.read(image, binary(), **options)
