"""What values in masks mean, by options and by the values alone."""

import pytest

from data_prep import class_table

NAMES = ["ground", "thing", "sky"]
PALETTE = [[0, 0, 0], [1, 2, 3], [250, 0, 9]]


def of_colors(names=NAMES, palette=PALETTE, **options):
  pairs = list(zip(palette, range(len(names))))
  return class_table.make(names, palette=palette, colors=pairs, **options)


def test_voc_palette_is_for_display_only():
  table = class_table.make([str(i) for i in range(21)])
  assert table.palette[15] == (192, 128, 128)  # Person.
  assert table.palette[20] == (0, 64, 128)  # Television.
  assert not table.ids_by_color


def test_colors_of_two_meanings_are_told():
  table = of_colors(palette=[[0, 0, 0], [1, 1, 1], [0, 0, 0]])
  assert table.unclear_colors == ((0, 0, 0),)
  assert not of_colors().unclear_colors


@pytest.mark.parametrize(
  "names, message",
  [
    (["a"], r"1 class names \(a\): must be 2 to 255"),
    ([str(i) for i in range(256)], "256 class names: must be 2 to 255"),
    (["a", "b", "a"], "'a' stands there twice; no two the same"),
    (["a", " "], "a class name is empty"),
  ],
)
def test_names_are_checked(names, message):
  with pytest.raises(ValueError, match=message):
    class_table.make(names)


def test_without_file_and_options_nothing_is_known():
  assert class_table.adjust(None) is None
  assert class_table.adjust(None, mask_values="ids") is None
  assert class_table.adjust(None, reduce_zero_label=True) is None


def test_names_replace_the_file():
  table = class_table.adjust(of_colors(), class_names=["a", "b"])
  assert table == class_table.make(["a", "b"])


def test_mask_values_go_before_the_file_which_keeps_its_colors():
  table = of_colors(mask_values="colors")
  ids = class_table.adjust(table, mask_values="ids")
  assert ids.mask_values == "ids" and len(ids.ids_by_color) == 3
  assert class_table.adjust(ids, mask_values="colors") == table


VALUES = "0:ignore, 7:road,8:road,11:car,"
MAP = {0: 255, 7: 0, 8: 0, 11: 1}


def test_values_name_classes_in_the_order_of_mention():
  table = class_table.adjust(None, values=VALUES)
  assert table.names == ("road", "car") and table.ids_by_value == MAP


def test_values_are_of_the_names_that_are_given():
  table = class_table.adjust(None, class_names=["car", "road"], values=VALUES)
  assert table.ids_by_value == {0: 255, 7: 1, 8: 1, 11: 0}
  by_id = class_table.adjust(None, class_names=["a", "b"], values="3:1,4:0")
  assert by_id.ids_by_value == {3: 1, 4: 0}


def test_values_add_to_the_map_of_a_file_and_go_before_it():
  table = class_table.make(["road", "car"], ids_by_value={1: 0, 2: 1, 3: 1})
  table = class_table.adjust(table, values="0:ignore,3:road")
  assert table.ids_by_value == {0: 255, 1: 0, 2: 1, 3: 0}


def test_threshold_says_that_masks_are_binary():
  table = class_table.adjust(None, threshold=100)
  assert table.names == ("background", "foreground")
  assert table.mask_values == "binary" and table.threshold == 100
  assert class_table.adjust(None, mask_values="binary").threshold == 128
  named = class_table.adjust(None, class_names=["no", "yes"], threshold=1)
  assert named.mask_values == "binary" and named.names == ("no", "yes")


def test_zero_label_is_reduced_as_in_mmsegmentation():
  table = class_table.adjust(
    None, class_names=["wall", "floor", "door"], reduce_zero_label=True
  )
  # gt[gt == 0] = 255; gt = gt - 1; gt[gt == 254] = 255
  assert table.ids_by_value == {0: 255, 1: 0, 2: 1, 3: 2, 255: 255}


@pytest.mark.parametrize(
  "options, message",
  [
    ({"mask_values": "binary"}, "of 2 classes, not 3"),
    ({"threshold": 9}, "of 2 classes, not 3"),
    ({"mask_values": "ids", "threshold": 9}, "is for binary masks"),
    ({"class_names": ["a", "b"], "threshold": 0}, "must be in 1 to 255"),
    ({"class_names": ["a", "b"], "mask_values": "colors"}, "with a palette"),
    ({"mask_values": "colors", "values": "7:sky"}, "leave values out"),
    ({"values": "7:tree"}, "'tree' is no class .ground, thing, sky., no id"),
    ({"values": "7:3"}, "3 is no class"),
    ({"values": "road"}, "'road' is not VALUE:NAME"),
    ({"values": "70000:sky"}, "is not VALUE:NAME"),
    ({"values": "7:sky,7:thing"}, "7 has two meanings"),
    ({"values": "7:sky", "reduce_zero_label": True}, "given for other values"),
    ({"mask_values": "colors", "reduce_zero_label": True}, "given for colors"),
    (
      {"class_names": ["background", "a"], "reduce_zero_label": True},
      "'background': leave it out",
    ),
  ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
  with pytest.raises(ValueError, match=message) as error:
    class_table.adjust(of_colors(), **options)
  assert "\n" not in str(error.value)


def test_values_without_names_are_refused():
  with pytest.raises(ValueError, match="gives ids, but no names"):
    class_table.adjust(None, values="3:0,4:1")


@pytest.mark.parametrize(
  "values, names, mask_values",
  [
    ({0, 255}, ("background", "foreground"), "binary"),
    ({0, 1}, ("class 0", "class 1"), ""),
    ({0, 1, 2, 255}, ("class 0", "class 1", "class 2"), ""),
    (range(151), tuple(f"class {i}" for i in range(151)), ""),
  ],
)
def test_plain_values_tell_their_classes(values, names, mask_values):
  table = class_table.of_values(values)
  assert table.names == names and table.mask_values == mask_values
  assert not table.ids_by_value


@pytest.mark.parametrize(
  "values",
  [
    {0},
    {255},
    {1, 2},
    {0, 1, 3},
    {0, 254, 255},
    range(256),  # A soft edge rather than 255 classes.
    {0, 1000},
    set(),
  ],
)
def test_values_of_two_readings_are_asked_about(values):
  with pytest.raises(ValueError) as error:
    class_table.of_values(values)
  message = str(error.value)
  assert "\n" not in message
  for option in ("class_names", "values", "mask_values", "reduce_zero_label"):
    assert f"--{option}" in message


def test_options_settle_what_values_mean():
  binary = class_table.of_values(range(256), mask_values="binary")
  assert binary.mask_values == "binary"
  reduced = class_table.of_values({0, 1, 2, 3}, reduce_zero_label=True)
  assert reduced.names == ("class 0", "class 1", "class 2")
  assert reduced.ids_by_value == {0: 255, 1: 0, 2: 1, 3: 2, 255: 255}
  with pytest.raises(ValueError, match="hold 0, 255"):
    class_table.of_values({0, 255}, mask_values="ids")


def test_class_is_found_by_name_id_or_ignore():
  names = ["sky", "2", "ignore", "tree"]
  meanings = ["sky", "2", "ignore", 3, None, 255, "255", "__ignore__", " 3 "]
  found = [class_table.find_id(meaning, names) for meaning in meanings]
  assert found == [0, 1, 2, 3, 255, 255, 255, 255, 3]
  for meaning in (4, -1, 1.0, True, "Sky", "", [0]):
    with pytest.raises(ValueError, match="is no class"):
      class_table.find_id(meaning, names)
