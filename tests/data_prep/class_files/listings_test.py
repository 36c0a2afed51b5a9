"""Files with a class a line, as annotation tools write them."""

import pytest

ADE = (
  "Idx\tRatio\tTrain\tVal\tStuff\tName\n"
  "1\t0.1576\t11664\t1172\t1\twall\n"
  "2\t0.1072\t6046\t612\t1\tbuilding, edifice\n"
  "3\t0.09\t8265\t796\t1\tscreen, silver screen\n"
  "4\t0.06\t9336\t917\t0\tscreen, CRT screen\n"
)

LABELMAP = (
  b"\xef\xbb\xbf# label:color_rgb:parts:actions\r\n"
  b"stop sign:250,50,83::\r\n\r\n"
  b"background:0,0,0::\r\n"
  b"  # of mine\r\n"
  b"road: 128 , 64,128:left,right:turn\r\n"
  b"a:b:1,1,1\r\n\r\n"
)


def test_labelmap_of_cvat(read):
  table = read("labelmap.txt", LABELMAP)
  assert table.names == ("stop sign", "background", "road", "a:b")
  colors = ((250, 50, 83), (0, 0, 0), (128, 64, 128), (1, 1, 1))
  assert table.palette == colors and table.mask_values == "colors"
  assert table.ids_by_color == {color: i for i, color in enumerate(colors)}
  assert not table.asks_for_background


@pytest.mark.parametrize(
  "text, asks",
  [
    ("road:1,1,1::\ncar:2,2,2::", True),
    ("road:1,1,1::", True),
    ("road:0,0,0::\ncar:2,2,2::", False),
    ("Background:9,9,9::\ncar:2,2,2::", False),
  ],
)
def test_labelmap_without_black_asks_for_a_background(read, text, asks):
  table = read("labelmap.txt", text)
  assert table.asks_for_background == asks


@pytest.mark.parametrize(
  "text, message",
  [
    ("# c\nroad:::\n", "labelmap.txt, line 2: 'road:::' names no color"),
    ("road\n", "line 1: 'road' names no color"),
    ("a:1,1,1::\nb:1,1,256::\n", r"line 2: color \[1, 1, 256\] is above 255"),
    ("a:1,1,1::\n\na:1,1,2::\n", "line 3: label 'a' stands in line 1, too"),
    ("a:1,1,1::\nb:1,1,1::\n", "line 2: color .* stands in line 1, too"),
    ("# nothing\n", "0 class names"),
    ("a:0,0,0::", "1 class names"),
    (b"\xff\xfea\x00", "not UTF-8 text"),
  ],
)
def test_faulty_labelmap_is_refused(read, text, message):
  with pytest.raises(ValueError, match=message) as error:
    read("labelmap.txt", text)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["class_names.txt", "labels.txt"])
def test_names_of_labelme(read, name):
  with_ignored = "__ignore__\n_background_\nlight sky\r\n\n"
  table = read(name, with_ignored)
  assert table.names == ("_background_", "light sky")
  assert table.ids_by_value == {0: 0, 1: 1, 255: 255}
  assert read(name, "_background_\nlight sky") == table
  plain = read(name, "ground\nsky\n")
  assert plain.names == ("ground", "sky") and not plain.ids_by_value


@pytest.mark.parametrize(
  "text, message",
  [
    ("a\n\nb\n", "labels.txt, line 2: empty; ids count lines"),
    ("# names\na\nb\n", "line 1: '# names' is no class name"),
    ("a\n__ignore__\nb\n", "line 2: '__ignore__' is no class name"),
    ("0 a\n7 b\n", "line 1: begins with a number, as all lines do"),
    ("", "0 class names"),
  ],
)
def test_faulty_names_are_refused(read, text, message):
  with pytest.raises(ValueError, match=message):
    read("labels.txt", text)


def test_pixel_values_of_roboflow(read):
  text = 'Pixel Value, Class\r\n0, background\r\n9, "big, tree"\r\n4, bush\r\n'
  table = read("_classes.csv", text)
  assert table.names == ("background", "bush", "big, tree")
  assert table.ids_by_value == {0: 0, 4: 1, 9: 2}


@pytest.mark.parametrize(
  "text, message",
  [
    ("0, a\n1, b\n", "_classes.csv, line 1: is '0, a', must be 'Pixel Value"),
    ("Pixel Value, Class\n0, a\nx, b\n", "line 3: 'x, b' is not a pixel value"),
    ("Pixel Value, Class\n0\n", "line 2: '0' is not a pixel value and"),
    ("Pixel Value, Class\n0, a\n\n0, b\n", "line 4: value 0 is 'a', too"),
    ("Pixel Value, Class\n0, a\n1, a\n", "'a' stands there twice"),
    ("", "0 class names"),
  ],
)
def test_faulty_pixel_values_are_refused(read, text, message):
  with pytest.raises(ValueError, match=message):
    read("_classes.csv", text)


def test_object_info_of_ade20k(read):
  table = read("objectInfo150.txt", ADE)
  assert table.names == (
    "wall", "building", "screen, silver screen", "screen, CRT screen"
  )  # fmt: skip
  assert table.ids_by_value == {0: 255, 1: 0, 2: 1, 3: 2, 4: 3}
  with pytest.raises(ValueError, match="line 6: Idx 2 stands there twice"):
    read("objectInfo150.txt", ADE + "2\t0\t0\t0\t0\tsky\n")
  with pytest.raises(ValueError, match="line 1: must name the columns"):
    read("objectInfo150.txt", "1 wall\n2 building\n")
