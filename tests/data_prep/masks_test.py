"""Values of masks become class ids, or the mask says why not."""

import numpy as np
import pytest
from PIL import Image

from data_prep import class_table, examples, masks
from tests import drawn_masks

BITS = np.uint8([[0, 255, 255], [255, 0, 0]])
SPARSE = {0: 255, 7: 0, 8: 0, 11: 1}


def test_reader_keeps_the_name_and_reads_nothing_at_first():
  def fail():
    raise OSError(5, "Input/output error")

  mask = masks.make_reader(drawn_masks.of_names())(
    examples.File("a mask.png", fail)
  )
  assert mask.name == "a mask.png"
  with pytest.raises(examples.ProblemError, match="^a mask.png: cannot be rea"):
    mask.read()


@pytest.mark.parametrize("mask_values", ["", "ids"])
@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_sparse_values_are_mapped_to_classes(mask_values, mode):
  table = drawn_masks.of_names(2, ids_by_value=SPARSE, mask_values=mask_values)
  values = np.uint8([[0, 7, 8, 11], [11, 7, 7, 7]])
  image = Image.fromarray(values)
  if mode == "P":
    image = drawn_masks.with_palette(values, [(3, i, 4) for i in range(256)])
  labels = drawn_masks.read(image.convert(mode), table)
  expected = [[255, 0, 0, 1], [1, 0, 0, 0]]
  np.testing.assert_array_equal(labels.ids, expected)
  assert "values mapped to classes" in labels.conversions
  assert labels.png is None


def test_value_that_says_itself_keeps_the_file():
  table = drawn_masks.of_names(2, ids_by_value={0: 0, 1: 1, 9: 1})
  plain = drawn_masks.read(np.uint8([[0, 1, 255]]), table)
  assert plain.png is not None and not plain.conversions
  mapped = drawn_masks.read(np.uint8([[0, 9, 255]]), table)
  np.testing.assert_array_equal(mapped.ids, [[0, 1, 255]])
  assert mapped.png is None


def test_zero_is_taken_away_as_by_mmsegmentation():
  table = class_table.adjust(drawn_masks.of_names(3), reduce_zero_label=True)
  values = np.uint8([[0, 1, 2, 3, 255]])
  expected = values - np.uint8(1)
  expected[expected == 254] = 255
  ids = drawn_masks.read_ids(values, table)
  np.testing.assert_array_equal(ids, expected)


def test_255_without_1_is_not_guessed():
  def read(image, mask_values="", **options):
    table = drawn_masks.of_names(mask_values=mask_values, **options)
    return drawn_masks.read_ids(image, table)

  with pytest.raises(examples.ProblemError, match="say --mask_values=binary"):
    read(BITS, count=2)
  np.testing.assert_array_equal(read(BITS, "ids", count=2), BITS)
  np.testing.assert_array_equal(read(BITS), BITS)
  with_both = np.uint8([[0, 1, 255]])
  np.testing.assert_array_equal(read(with_both, count=2), with_both)
  # As of labelme: the file of classes says that 255 is ignored.
  said = {"ids_by_value": {0: 0, 1: 1, 255: 255}, "count": 2}
  np.testing.assert_array_equal(read(BITS, **said), BITS)
  with pytest.raises(examples.ProblemError, match="255, but no 'thing': say"):
    read(BITS, count=2, ids_by_value={0: 0, 7: 1})


@pytest.mark.parametrize(
  "values, options, message",
  [
    (
      [0, 3, 3, 200],
      {},
      "label value 3 (2 pixels), 200 (1 pixels); must be below 3, the number "
      "of classes, or 255: name all classes (--class_names), or say what it "
      "means (--values=3:NAME or 3:ignore)",
    ),
    (
      [7, 9, 9],
      {"ids_by_value": SPARSE},
      "label value 9 (2 pixels); no class has it, nor is it ignored: name all "
      "classes (--class_names), or say what it means (--values=9:NAME or "
      "9:ignore)",
    ),
    (
      [0, 9, 1, 255],
      {"count": 2},
      "label value 9 (1 pixels); must be below 2, the number of classes, or "
      "255: name all classes (--class_names), or say what it means "
      "(--values=9:NAME or 9:ignore); --mask_values=binary if they are soft "
      "edges of black and white",
    ),
  ],
)
def test_values_of_no_class_are_named(values, options, message):
  with pytest.raises(examples.ProblemError) as error:
    drawn_masks.read(np.uint8([values]), drawn_masks.of_names(**options))
  assert str(error.value) == f"a mask.png: {message}"


@pytest.mark.parametrize(
  "values, message",
  [
    (np.uint16([[0, 256, 65535]]), "label value 256 .*, 65535"),
    (np.int32([[0, -1]]), "label value -1; must not be below 0"),
    (np.int32([[0, 1 << 20]]), "label value 1048576; must not be above 65535"),
    (np.uint8([range(3, 13)]), "3 .* and 5 more; must be"),
  ],
)
def test_values_out_of_range_are_refused(values, message):
  kind = "TIFF" if values.dtype == np.int32 else "PNG"
  with pytest.raises(examples.ProblemError, match=message):
    drawn_masks.read(values, drawn_masks.of_names(), kind=kind)


@pytest.mark.parametrize(
  "image, message",
  [
    (drawn_masks.RGB, "holds colors .mode RGB., but no palette is given"),
    (Image.new("LA", (4, 4), (1, 9)), "is transparent in places"),
  ],
)
def test_what_holds_no_ids_is_refused(image, message):
  with pytest.raises(examples.ProblemError, match=message):
    drawn_masks.read(image, drawn_masks.of_names())


def test_color_of_two_meanings_does_for_ids_only():
  options = {"colors": [((0, 0, 0), 0), ((0, 0, 0), 1)]}
  for mask_values in ("", "colors"):
    table = drawn_masks.of_names(mask_values=mask_values, **options)
    with pytest.raises(ValueError, match=r"\[0, 0, 0\] two meanings; .*=ids"):
      masks.make_reader(table)
  masks.make_reader(drawn_masks.of_names(mask_values="ids", **options))


def test_values_of_16_bit_black_and_white_are_those_of_8():
  file = drawn_masks.file_of(np.uint16([[0, 65535]]))
  assert masks.read_values(file) == {0, 255}
  file = drawn_masks.file_of(np.uint16([[0, 300, 65535]]))
  assert masks.read_values(file) == {0, 300, 65535}


def files_of(*images):
  return [
    drawn_masks.file_of(image, f"{i}.png") for i, image in enumerate(images)
  ]


ROAD = {
  "palette": [(9, 0, 200)],
  "colors": [((9, 0, 200), 0), ((8, 8, 8), 255)],
}
CVAT = {"mask_values": "colors", "asks_for_background": True, **ROAD}
BLUE = np.full((2, 3, 3), (9, 0, 200), np.uint8)
WITH_BLACK = BLUE.copy()
WITH_BLACK[0, 0] = 0


@pytest.mark.parametrize(
  "image",
  [
    WITH_BLACK,
    np.uint8([[8, 0]]),
    drawn_masks.with_palette(np.uint8([[1, 0]]), [(9, 0, 200), (0, 0, 0)]),
  ],
  ids=["RGB", "gray", "palette"],
)
def test_black_becomes_a_class_if_masks_hold_it(image):
  table = drawn_masks.of_names(1, **CVAT)
  broken = examples.File("broken.png", lambda: b"no")
  settled = masks.settle(table, [broken, *files_of(BLUE, image)])
  assert settled.names == ("background", "ground")
  assert settled.palette == ((0, 0, 0), (9, 0, 200))
  assert settled.ids_by_color == {
    (0, 0, 0): 0, (9, 0, 200): 1, (8, 8, 8): 255
  }  # fmt: skip
  assert not settled.asks_for_background
  (note,) = settled.notes
  assert "it is class 0, background" in note
  np.testing.assert_array_equal(
    drawn_masks.read_ids(WITH_BLACK, settled), [[0, 1, 1], [1, 1, 1]]
  )


def test_without_black_there_is_no_background():
  unused = drawn_masks.with_palette(
    np.uint8([[0, 0]]), [(9, 0, 200), (0, 0, 0)]
  )
  files = files_of(BLUE, unused)
  with pytest.raises(ValueError, match="names but one, 'ground', and no mask"):
    masks.settle(drawn_masks.of_names(1, **CVAT), files)
  two = drawn_masks.of_names(2, **CVAT | {"palette": [(9, 0, 200), (1, 1, 1)]})
  settled = masks.settle(two, files)
  assert settled.names == two.names and not settled.asks_for_background
  with pytest.raises(examples.ProblemError, match=r"color \[0, 0, 0\]"):
    drawn_masks.read(WITH_BLACK, settled)
  plain = drawn_masks.of_names()
  assert masks.settle(plain, files_of(WITH_BLACK)) is plain


def layer(rows):
  return np.uint8(rows) * 255


LEFT = layer([[1, 1, 0, 0], [1, 1, 0, 0]])
TOP = layer([[1, 1, 1, 0], [0, 0, 0, 0]])


def test_layers_become_one_mask_and_overlaps_are_ignored():
  left, top, again = files_of(LEFT, TOP, layer([[0, 0, 0, 1], [1, 0, 0, 0]]))
  mask = masks.merge_layers([(2, left), (1, top), (2, again)])
  labels = mask.read()
  expected = [[255, 255, 1, 2], [2, 2, 0, 0]]
  np.testing.assert_array_equal(labels.ids, expected)
  assert labels.conversions == ("pixels of two labels ignored",)
  assert mask.name == "0.png" and labels.ids.dtype == np.uint8
  single = masks.merge_layers([(2, left), (2, again)], name="x").read()
  np.testing.assert_array_equal(single.ids, [[2, 2, 0, 2], [2, 2, 0, 0]])
  assert not single.conversions


def test_pixels_of_three_labels_stay_ignored():
  files = files_of(*[layer([[1, 0]])] * 3)
  labels = masks.merge_layers(list(zip([1, 2, 1], files))).read()
  np.testing.assert_array_equal(labels.ids, [[255, 0]])


def test_label_of_class_0_is_drawn_as_any_other():
  for labels in ([0, 1], [1, 0]):
    files = files_of(layer([[1, 1, 0, 0]]), layer([[0, 1, 1, 0]]))
    ids = masks.merge_layers(list(zip(labels, files))).read().ids
    np.testing.assert_array_equal(ids, [[labels[0], 255, labels[1], 0]])


def test_layer_of_what_is_ignored_is_no_overlap():
  labels = masks.merge_layers([(255, files_of(TOP)[0])]).read()
  np.testing.assert_array_equal(labels.ids, TOP)
  assert not labels.conversions


def test_soft_layers_are_cut():
  (file,) = files_of(np.uint8([[0, 99, 100, 255]]))
  labels = masks.merge_layers([(3, file)], threshold=100).read()
  np.testing.assert_array_equal(labels.ids, [[0, 0, 3, 3]])
  assert labels.conversions == ("soft edges cut at 100",)


def test_no_layer_at_all_is_background():
  labels = masks.merge_layers([], name="x", size=(2, 3)).read()
  np.testing.assert_array_equal(labels.ids, np.zeros((2, 3)))
  with pytest.raises(examples.ProblemError, match="^x: no label is drawn"):
    masks.merge_layers([], name="x").read()


def test_layers_of_different_sizes_are_refused():
  left, other = files_of(LEFT, TOP[:, 1:])
  mask = masks.merge_layers([(1, left), (2, other)])
  message = "1.png: has 3 x 2 pixels, but 0.png 4 x 2"
  with pytest.raises(examples.ProblemError, match=message):
    mask.read()
  mask = masks.merge_layers([(1, left)], name="x", size=(9, 5))
  with pytest.raises(examples.ProblemError, match="but x 5 x 9: all"):
    mask.read()
