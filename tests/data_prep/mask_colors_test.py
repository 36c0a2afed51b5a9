"""Colors become class ids, and palettes must not say otherwise."""

import numpy as np
import pytest
from PIL import Image

from data_prep import examples, masks
from tests import drawn_masks

IDS, RGB = drawn_masks.IDS, drawn_masks.RGB
READ_AS_IDS = np.uint8([[0, 1, 2, 2], [1, 0, 0, 255]])
BLACK, WHITE, BLUE, VOID = drawn_masks.COLORS
REST = [VOID] * 253


def of_palette(*colors):
  return drawn_masks.with_palette(READ_AS_IDS, [*colors, *REST])


@pytest.mark.parametrize("mask_values", ["", "colors"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_become_ids(mask_values, mode):
  table = drawn_masks.of_colors(mask_values)
  labels = drawn_masks.read(Image.fromarray(RGB).convert(mode), table)
  np.testing.assert_array_equal(labels.ids, IDS)
  assert labels.conversions == ("colors to class ids",) and labels.png is None


def test_palettes_and_grays_are_colors_if_asked_for():
  table = drawn_masks.of_colors("colors")
  ids = drawn_masks.read_ids(of_palette(WHITE, BLACK, BLUE), table)
  np.testing.assert_array_equal(ids, [[1, 0, 2, 2], [0, 1, 1, 255]])
  gray = np.uint8([[0, 255, 0]])
  for image in (gray, Image.fromarray(gray).convert("1")):
    ids = drawn_masks.read_ids(image, table)
    np.testing.assert_array_equal(ids, [[0, 1, 0]])


def test_palette_of_the_classes_goes_with_their_ids():
  image = of_palette(BLACK, WHITE, BLUE)
  for mask_values in ("", "ids", "colors"):
    table = drawn_masks.of_colors(mask_values)
    ids = drawn_masks.read_ids(image, table)
    np.testing.assert_array_equal(ids, READ_AS_IDS)


def test_palette_that_says_another_class_than_the_index_is_refused():
  image = of_palette(WHITE, BLACK, BLUE)
  with pytest.raises(examples.ProblemError) as error:
    drawn_masks.read(image, drawn_masks.of_colors())
  assert str(error.value) == (
    "a mask.png: palette index 0 is 'ground', but its color [255, 255, 255] is "
    "that of 'thing': say --mask_values=ids if indices count, "
    "--mask_values=colors if colors do"
  )
  ids = drawn_masks.read_ids(image, drawn_masks.of_colors("ids"))
  np.testing.assert_array_equal(ids, READ_AS_IDS)


def test_palette_is_compared_where_it_is_used():
  unused = drawn_masks.with_palette(
    np.uint8([[0, 1]]), [BLACK, WHITE, BLACK, *REST]
  )
  ids = drawn_masks.read_ids(unused, drawn_masks.of_colors())
  np.testing.assert_array_equal(ids, [[0, 1]])
  ignored = of_palette(BLACK, WHITE, VOID)
  with pytest.raises(examples.ProblemError, match="2 is 'sky', .* of ignored"):
    drawn_masks.read(ignored, drawn_masks.of_colors())
  beyond = drawn_masks.with_palette(np.uint8([[0, 3]]), [BLACK] * 3 + [BLUE])
  with pytest.raises(examples.ProblemError, match="3 is no class, .* of 'sky'"):
    drawn_masks.read(beyond, drawn_masks.of_colors())


@pytest.mark.parametrize(
  "colors",
  [
    [(i, i, i) for i in range(256)],
    [(10, 20, 30), (1, 2, 3), (7, 7, 0)] + [(4, 5, 6)] * 253,
    [(0, 0, 0), (127, 127, 127), (254, 254, 254)] + [(250, 250, 250)] * 253,
  ],
  ids=["identity", "others", "stretched"],
)
def test_palette_of_no_relation_shows_ids(colors):
  image = drawn_masks.with_palette(READ_AS_IDS, colors)
  for table in (drawn_masks.of_names(), drawn_masks.of_colors()):
    np.testing.assert_array_equal(
      drawn_masks.read_ids(image, table), READ_AS_IDS
    )


def test_palettes_that_differ_between_masks_are_refused():
  red, green = (200, 0, 0), (0, 200, 0)
  first = drawn_masks.with_palette(np.uint8([[0, 1]]), [BLACK, red, green])
  same = drawn_masks.with_palette(np.uint8([[0, 2]]), [BLACK, green, green])
  other = drawn_masks.with_palette(np.uint8([[0, 1, 2]]), [BLACK, green, red])
  files = [
    drawn_masks.file_of(image, name)
    for image, name in ((first, "1.png"), (same, "2.png"), (other, "3.png"))
  ]
  read = masks.make_reader(drawn_masks.of_names())
  read(files[0]).read(), read(files[1]).read()
  with pytest.raises(examples.ProblemError) as error:
    read(files[2]).read()
  message = str(error.value)
  assert message.startswith(
    "3.png: palette index 1 is of color [0, 200, 0], but in 1.png of "
    "[200, 0, 0]: say --mask_values=ids if indices count, --mask_values=colors"
  )
  read = masks.make_reader(drawn_masks.of_names(mask_values="ids"))
  assert [read(file).read().ids.tolist() for file in files] == [
    [[0, 1]], [[0, 2]], [[0, 1, 2]]
  ]  # fmt: skip


def test_gray_palettes_and_gray_masks_go_with_any_palette():
  read = masks.make_reader(drawn_masks.of_names())
  gray = drawn_masks.with_palette(READ_AS_IDS, [(i,) * 3 for i in range(256)])
  for image in (of_palette(BLACK, BLUE, WHITE), gray, READ_AS_IDS):
    labels = read(drawn_masks.file_of(image)).read()
    np.testing.assert_array_equal(labels.ids, READ_AS_IDS)


def test_unknown_colors_are_named_with_their_pixels():
  pixels = RGB.copy()
  pixels[0, :3] = 1, 2, 3
  pixels[1, 1] = 255, 0, 1
  with pytest.raises(examples.ProblemError) as error:
    drawn_masks.read(pixels, drawn_masks.of_colors())
  assert str(error.value) == (
    "a mask.png: color [1, 2, 3] (3 pixels), [255, 0, 1] (1 pixels); no class "
    "is of that color, nor is it ignored"
  )


def test_many_unknown_colors_are_cut_short():
  pixels = np.arange(7 * 3, dtype=np.uint8).reshape(1, 7, 3)
  with pytest.raises(examples.ProblemError, match="pixels.* and 2 more; no"):
    drawn_masks.read(pixels, drawn_masks.of_colors())


@pytest.mark.parametrize(
  "image, mask_values, message",
  [
    (Image.new("RGBA", (4, 4), (0, 0, 0, 9)), "", "transparent in places; sav"),
    (np.uint16([[0, 1]]), "colors", "16 bits, which are no colors"),
    (np.uint8([[0, 1]]), "colors", r"\[1, 1, 1\] .* --mask_values=ids if gray"),
    (RGB, "ids", "holds colors .*, not ids: --mask_values=colors"),
  ],
  ids=["transparent", "16-bit", "gray", "ids"],
)
def test_what_is_no_color_of_a_class_is_refused(image, mask_values, message):
  with pytest.raises(examples.ProblemError, match=message):
    drawn_masks.read(image, drawn_masks.of_colors(mask_values))


def test_transparent_index_counts_where_colors_do():
  image = of_palette(BLACK, WHITE, BLUE)
  options = {"transparency": 0}
  ids = drawn_masks.read_ids(image, drawn_masks.of_names(), **options)
  np.testing.assert_array_equal(ids, READ_AS_IDS)
  with pytest.raises(examples.ProblemError, match="is transparent in places"):
    drawn_masks.read(image, drawn_masks.of_colors("colors"), **options)
