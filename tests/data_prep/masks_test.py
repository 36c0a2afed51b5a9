"""Masks of colors become masks of class ids, or say why not."""

import io

import numpy as np
import pytest
from PIL import Image

from data_prep import class_table, color_masks, examples
from u2pl_jax.data import palettes

COLORS = {(0, 0, 0): 0, (255, 255, 255): 1, (9, 0, 200): 2, (9, 0, 201): 255}
IDS = np.random.default_rng(0).choice(np.uint8([0, 1, 2, 255]), (5, 7))
RGB = np.zeros((5, 7, 3), np.uint8)
for _color, _id in COLORS.items():
  RGB[IDS == _id] = _color


def convert(image, mask_values="", colors=COLORS, num_classes=3):
  """Returns the ids that the mask `image`, a Pillow image, is read as."""
  buffer = io.BytesIO()
  image.save(buffer, "PNG")
  names = tuple(map(str, range(num_classes)))
  table = class_table.ClassTable(
    names, palettes.voc_palette(num_classes), mask_values, colors
  )
  file = examples.File("a mask.png", buffer.getvalue)
  converted = color_masks.make_converter(table)(file)
  assert converted.name == "a mask.png"
  return converted.read().ids


def image_of(pixels, mode="RGB"):
  return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mask_values", ["", "colors"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_become_ids(mask_values, mode):
  np.testing.assert_array_equal(convert(image_of(RGB, mode), mask_values), IDS)


def test_palette_image_holds_ids_unless_colors_are_asked_for():
  image = image_of(IDS, "L")
  image.putpalette([0, 0, 0, 255, 255, 255, 9, 0, 200] + [9, 0, 201] * 253)
  np.testing.assert_array_equal(convert(image), IDS)
  np.testing.assert_array_equal(convert(image, "colors"), IDS)
  swapped = image_of(IDS, "L")
  swapped.putpalette([255, 255, 255, 0, 0, 0, 9, 0, 200] + [9, 0, 201] * 253)
  np.testing.assert_array_equal(convert(swapped), IDS)
  expected = np.choose(np.minimum(IDS, 3), [1, 0, 2, 255])
  np.testing.assert_array_equal(convert(swapped, "colors"), expected)


BINARY = {(0, 0, 0): 0, (255, 255, 255): 1}
BITS = np.uint8([[0, 255, 255], [255, 0, 0]])


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_black_and_white_are_two_classes(mode):
  ids = convert(image_of(BITS, mode), "binary", BINARY, 2)
  np.testing.assert_array_equal(ids, BITS // 255)


def test_255_without_1_is_not_guessed():
  image = image_of(BITS, "L")
  with pytest.raises(examples.ProblemError, match="say --mask_values=binary"):
    convert(image, "", {}, 2)
  np.testing.assert_array_equal(convert(image, "ids", {}, 2), BITS)
  np.testing.assert_array_equal(convert(image, "", {}, 3), BITS)
  with_both = np.uint8([[0, 1, 255]])
  np.testing.assert_array_equal(
    convert(image_of(with_both, "L"), "", {}, 2), with_both
  )


def test_unknown_colors_are_named_with_their_pixels():
  pixels = RGB.copy()
  pixels[0, :3] = 1, 2, 3
  pixels[1, 1] = 255, 0, 1
  with pytest.raises(examples.ProblemError) as error:
    convert(image_of(pixels))
  assert str(error.value) == (
    "a mask.png: color [1, 2, 3] (3 pixels), [255, 0, 1] (1 pixels); no class "
    "is of that color, nor is it ignored"
  )


def test_many_unknown_colors_are_cut_short():
  pixels = np.arange(7 * 3, dtype=np.uint8).reshape(1, 7, 3)
  with pytest.raises(examples.ProblemError, match="pixels.* and 2 more; no"):
    convert(image_of(pixels))


def test_smoothed_binary_mask_is_refused():
  with pytest.raises(examples.ProblemError, match=r"\[128, 128, 128\] \(1 pix"):
    convert(image_of(np.uint8([[0, 128, 255]]), "L"), "binary", BINARY, 2)


@pytest.mark.parametrize(
  "image, colors, message",
  [
    (image_of(RGB), {}, "holds colors .* but no palette"),
    (image_of(BITS, "1"), {}, "one bit a pixel; --mask_values=binary"),
    (image_of(RGB, "LA"), COLORS, "mode LA, must be"),
    (Image.new("RGBA", (4, 4), (0, 0, 0, 9)), COLORS, "transparent"),
  ],
  ids=["no-palette", "one-bit", "mode", "transparent"],
)
def test_other_masks_are_refused(image, colors, message):
  with pytest.raises(examples.ProblemError, match=message):
    convert(image, colors=colors)


@pytest.mark.parametrize(
  "content, message",
  [(b"", "the file is empty"), (b"no", "not an image")],
  ids=["empty", "text"],
)
def test_broken_file_is_named(content, message):
  table = class_table.ClassTable(("a", "b"), ((0, 0, 0),) * 2, "", {})
  file = examples.File("a mask.png", lambda: content)
  with pytest.raises(examples.ProblemError, match=f"^a mask.png: .*{message}"):
    color_masks.make_converter(table)(file).read()
