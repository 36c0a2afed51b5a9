"""Files of classes: names, palette, colors of masks."""

import json

import pytest

from data_prep import class_table

NAMES = ["ground", "thing", "sky"]
PALETTE = [[0, 0, 0], [1, 2, 3], [250, 0, 9]]


def read(tmp_path, content, **options):
  file = tmp_path / "classes.json"
  file.write_text(json.dumps(content))
  return class_table.read(file, **options)


def test_palette_and_further_colors_give_ids(tmp_path):
  table = read(
    tmp_path,
    {
      "names": NAMES,
      "palette": PALETTE,
      "other_colors": {"thing": [[7, 7, 7], [8, 8, 8]]},
      "ignore_colors": [[255, 255, 255]],
    },
  )
  assert table.palette == ((0, 0, 0), (1, 2, 3), (250, 0, 9))
  assert table.ids_by_color == {
    (0, 0, 0): 0,
    (1, 2, 3): 1,
    (250, 0, 9): 2,
    (7, 7, 7): 1,
    (8, 8, 8): 1,
    (255, 255, 255): 255,
  }


def test_voc_palette_is_for_display_only(tmp_path):
  table = class_table.read(tmp_path / "none", [str(i) for i in range(21)])
  assert table.palette[15] == (192, 128, 128)  # Person.
  assert table.palette[20] == (0, 64, 128)  # Television.
  assert not table.ids_by_color


def test_binary_masks_are_black_and_white_whatever_the_palette(tmp_path):
  content = {"names": NAMES[:2], "palette": [[1, 1, 1], [2, 2, 2]]}
  table = read(tmp_path, content | {"mask_values": "binary"})
  assert table.ids_by_color == {(0, 0, 0): 0, (255, 255, 255): 1}
  assert table.palette == ((1, 1, 1), (2, 2, 2))


def test_colors_may_repeat_where_masks_hold_ids(tmp_path):
  content = {"names": NAMES, "palette": [[0, 0, 0]] * 3}
  assert not read(tmp_path, content, mask_values="ids").ids_by_color


def test_option_goes_before_the_file(tmp_path):
  content = {"names": NAMES, "palette": PALETTE, "mask_values": "ids"}
  assert read(tmp_path, content).mask_values == "ids"
  assert read(tmp_path, content, mask_values="colors").mask_values == "colors"


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"mask_values": "rgb"}, "mask_values must be ids, colors or binary"),
    ({"mask_values": "binary"}, "of 2 classes, not 3"),
    ({"mask_values": "colors"}, "must hold a palette"),
    ({"palette": [[0, 0, 0], [1, 1, 1], [0, 0, 0]]}, r"\[0, 0, 0\] has two"),
    ({"palette": [[0, 0, 0], [1, 1, 1], [True, 0, 0]]}, "palette must hold"),
    ({"palette": PALETTE, "ignore_colors": [[1, 2, 3]]}, "has two meanings"),
    ({"ignore_colors": [0, 0, 0]}, "ignore_colors must be"),
    ({"other_colors": [[0, 0, 0]]}, "other_colors must be"),
    ({"other_colors": {"tree": [[4, 4, 4]]}}, "'tree' is not in names"),
  ],
)
def test_what_is_unclear_is_refused(tmp_path, changes, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, {"names": NAMES} | changes)
