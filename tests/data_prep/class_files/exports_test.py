"""JSON files of classes, as annotation tools write them."""

import pytest

HASTY = [
  {
    "png_index": 2,
    "class_name": "tree",
    "color": "#4c4ffcff",
    "class_type": "object",
  },
  {
    "png_index": 1,
    "class_name": "bush",
    "color": "#4df3ce",
    "class_type": "object",
  },
]


def test_machine_colors_of_supervisely(read):
  name = "obj_class_to_machine_color.json"
  table = read(name, {"kiwi": [2, 2, 2], "lemon": [1, 1, 1]})
  assert table.names == ("background", "lemon", "kiwi")
  assert table.ids_by_value == {0: 0, 1: 1, 2: 2} and not table.ids_by_color
  (note,) = table.notes
  assert "gives 0 to no class; it is class 0, background" in note
  whole = read(name, {"bg": [0, 0, 0], "lemon": [1, 1, 1]})
  assert whole.names == ("bg", "lemon") and not whole.notes
  colors = read(name, {"kiwi": [2, 0, 2], "lemon": [1, 1, 1]})
  assert colors.mask_values == "colors" and colors.asks_for_background


def test_label_classes_of_hasty(read):
  table = read("label_classes.json", HASTY)
  assert table.names == ("background", "bush", "tree")
  assert table.ids_by_value == {0: 0, 1: 1, 2: 2}
  colors = ((0, 0, 0), (0x4D, 0xF3, 0xCE), (0x4C, 0x4F, 0xFC))
  assert table.palette == colors
  assert table.ids_by_color == {color: i for i, color in enumerate(colors)}
  assert table.mask_values == "" and table.notes


COLORS = {(0, 0, 0): 0, (9, 0, 200): 1}


@pytest.mark.parametrize("name", ["label_classes.json", "classes.json"])
@pytest.mark.parametrize(
  "content, by_value, by_color",
  [
    (["a", "b"], {}, {}),
    ({"a": 3, "b": 5}, {3: 0, 5: 1}, {}),
    ({"3": "a", "5": "b"}, {3: 0, 5: 1}, {}),
    ([{"name": "a", "id": 3}, {"name": "b", "id": 5}], {3: 0, 5: 1}, {}),
    ({"a": [0, 0, 0], "b": [9, 0, 200]}, {}, COLORS),
    ({"a": "#000000", "b": "#0900c8ff"}, {}, COLORS),
    (
      {"a": {"r": 0, "g": 0, "b": 0}, "b": {"r": 9, "g": 0, "b": 200}},
      {},
      COLORS,
    ),
    (
      {
        "classes": [
          {"title": "a", "color": "#000000", "id": 5120034},
          {"title": "b", "color": "#0900C8", "id": 5120035},
        ]
      },
      {},
      COLORS,
    ),
    (
      [
        {"name": "b", "value": 5, "color": [9, 0, 200]},
        {"name": "a", "value": 3, "color": [0, 0, 0]},
      ],
      {3: 0, 5: 1},
      COLORS,
    ),
  ],
)
def test_label_classes_of_many_forms(read, name, content, by_value, by_color):
  table = read(name, content)
  assert table.names == ("a", "b")
  assert table.ids_by_value == by_value and table.ids_by_color == by_color
  is_of_colors = by_color and not by_value
  assert table.mask_values == ("colors" if is_of_colors else "")


@pytest.mark.parametrize(
  "content, message",
  [
    ([], "must hold"),
    (3, "must hold"),
    ([{"color": "#ffffff"}, "b"], "has no name"),
    ({"a": 3, "b": "red"}, "'b': 'red' is neither a value .* nor a color"),
    ({"a": 3, "b": -1}, "'b': -1 is neither a value"),
    ({"a": 3, "b": 3}, "'a' and 'b' have one value, 3"),
    ({"a": [1, 1, 1], "b": [1, 1, 1]}, r"'a' and 'b' have one color, \[1, 1"),
    ({"a": 3, "b": [1, 1, 1]}, "some classes have a value, others none"),
    ([{"name": "a", "color": [0, 0]}], r"'a': \[0, 0\] is no color"),
    ([{"name": "a", "id": 1}, {"name": "a", "id": 2}], "'a' stands there twi"),
    ("{", "not a JSON file"),
  ],
)
def test_faulty_label_classes_are_refused(read, content, message):
  with pytest.raises(
    ValueError, match=f"label_classes.json: .*{message}"
  ) as error:
    read("label_classes.json", content)
  assert "\n" not in str(error.value)
