"""Files of classes are found, told apart and chosen among."""

import json

import pytest

from data_prep import class_files, class_table


@pytest.mark.parametrize(
  "name, content, first",
  [
    ("mine.txt", "# c\nstop sign:1,1,1::\nb:2,2,2::\n", "stop sign"),
    ("mine.txt", "Idx\tName\n1\twall\n2\tsky\n", "wall"),
    ("mine.txt", "ground\nsky\n", "ground"),
    ("mine.json", {"names": ["ground", "sky"]}, "ground"),
    ("mine.JSON", {"ground": 3, "sky": 5}, "ground"),
    ("mine.csv", "Pixel Value, Class\n0, a\n1, b\n", "a"),
  ],
)
def test_file_of_another_name_tells_its_kind(read, name, content, first):
  assert read(name, content).names[0] == first


def test_file_is_found_by_its_name_or_as_given(tmp_path, monkeypatch):
  assert class_files.find(tmp_path) is None
  (tmp_path / "labels.txt").write_text("a\nb\n")
  assert class_files.find(tmp_path) == tmp_path / "labels.txt"
  (tmp_path / "mine.txt").write_text("c\nd\n")
  assert class_files.find(tmp_path, "mine.txt") == tmp_path / "mine.txt"
  elsewhere = class_files.find(tmp_path / "x", str(tmp_path / "mine.txt"))
  assert elsewhere == tmp_path / "mine.txt"
  monkeypatch.chdir(tmp_path)
  assert class_files.find(tmp_path / "x", "mine.txt").samefile(elsewhere)
  with pytest.raises(FileNotFoundError, match="none.json: no such file"):
    class_files.find(tmp_path, "none.json")
  with pytest.raises(FileNotFoundError, match="name the classes in it or by"):
    class_files.read(tmp_path / "classes.json")


def test_of_files_that_agree_the_one_that_says_most_is_taken(tmp_path):
  (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nsky\n")
  (tmp_path / "class_names.txt").write_text("_background_\nsky\n")
  assert class_files.find(tmp_path) == tmp_path / "class_names.txt"
  for name in ("labels.txt", "class_names.txt"):
    (tmp_path / name).write_text("ground\nsky\n")
  text = "Pixel Value, Class\n0, ground\n7, sky\n"
  (tmp_path / "_classes.csv").write_text(text)
  assert class_files.find(tmp_path) == tmp_path / "_classes.csv"


@pytest.mark.parametrize(
  "other, content",
  [
    ("labels.txt", "b\na\n"),
    ("labels.txt", "a\nb\nc\n"),
    ("_classes.csv", "Pixel Value, Class\n0, a\n8, b\n"),
  ],
)
def test_files_that_differ_are_asked_about(tmp_path, other, content):
  own = {"names": ["a", "b"], "values": {"0": "a", "7": "b"}}
  (tmp_path / "classes.json").write_text(json.dumps(own))
  (tmp_path / other).write_text(content)
  with pytest.raises(ValueError, match=f"{other} say .* --classes=FILE"):
    class_files.find(tmp_path)
  given = class_files.find(tmp_path, other)
  assert class_files.read(given).names[:1] in (("a",), ("b",))


def test_options_apply_to_what_files_say(read):
  table = read("_classes.csv", "Pixel Value, Class\n1, a\n2, b\n")
  table = class_table.adjust(table, values="0:ignore,3:b")
  assert table.ids_by_value == {0: 255, 1: 0, 2: 1, 3: 1}
