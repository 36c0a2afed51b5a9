"""classes.json: names, palette, colors and values of masks."""

import pytest

NAMES = ["ground", "thing", "sky"]
PALETTE = [[0, 0, 0], [1, 2, 3], [250, 0, 9]]
VALUES = {"0": "ignore", "7": "ground", "8": "ground", "11": 2, "12": None}


def read_own(read, **changes):
  return read("classes.json", {"names": NAMES} | changes)


def test_palette_and_further_colors_give_ids(read):
  table = read_own(
    read,
    palette=PALETTE,
    other_colors={"thing": [[7, 7, 7], [8, 8, 8]]},
    ignore_colors=[[255, 255, 255]],
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
  assert table.mask_values == "" and not table.ids_by_value


def test_values_are_read_by_name_id_or_ignore(read):
  table = read_own(read, values=VALUES)
  assert table.ids_by_value == {0: 255, 7: 0, 8: 0, 11: 2, 12: 255}
  unnamed = {"values": {"0": "ignore", "7": "road", "8": "road", "9": "car"}}
  table = read("classes.json", unnamed)
  assert table.names == ("road", "car")
  assert table.ids_by_value == {0: 255, 7: 0, 8: 0, 9: 1}


def test_binary_masks_have_a_threshold(read):
  assert read_own(read, names=["a", "b"], threshold=9).threshold == 9
  table = read_own(read, names=["a", "b"], mask_values="binary")
  assert table.mask_values == "binary" and table.threshold == 128


def test_colors_of_two_meanings_do_for_ids(read):
  table = read_own(read, palette=[[0, 0, 0]] * 3, mask_values="ids")
  assert table.unclear_colors == ((0, 0, 0),)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"mask_values": "rgb"}, "mask_values must be ids, colors or binary"),
    ({"mask_values": "binary"}, "of 2 classes, not 3"),
    ({"mask_values": "colors"}, "with a palette"),
    ({"palette": [[0, 0, 0], [1, 1, 1], [True, 0, 0]]}, "palette must hold"),
    ({"ignore_colors": [0, 0, 0]}, "ignore_colors must be"),
    ({"other_colors": [[0, 0, 0]]}, "other_colors must be"),
    ({"other_colors": {"tree": [[4, 4, 4]]}}, "'tree' is not in names"),
    ({"ignore_label": 0}, 'must be 255; .* "values": {"0": "ignore"'),
    ({"values": [1]}, "values must be"),
    ({"values": {"x": "sky"}}, "values must be"),
    ({"values": {"-1": "sky"}}, "values must be"),
    ({"values": {"7": "tree"}}, "values: 7: 'tree' is no class"),
    ({"values": {"7": 3}}, "values: 7: 3 is no class"),
    ({"threshold": 0}, "threshold is 0: must be in 1 to 255"),
    ({"threshold": 100}, "of 2 classes, not 3"),
    ({"mask_value": "ids"}, "unknown key 'mask_value'; rather 'mask_values'"),
    ({"names": ["a", 2]}, "must hold"),
    ({"names": ["a", "a"]}, "no two the same"),
  ],
)
def test_what_is_unclear_is_refused(read, changes, message):
  with pytest.raises(ValueError, match=f"classes.json: .*{message}") as error:
    read_own(read, **changes)
  assert "\n" not in str(error.value)


def test_key_that_stands_twice_is_refused(read):
  text = '{"names": ["a", "b"], "values": {"7": "a", "7": "b"}}'
  with pytest.raises(ValueError, match="classes.json: '7' stands there twice"):
    read("classes.json", text)
