"""Finding image files, and reading them."""

import os
import pathlib

import numpy as np
import pytest

from tests import picture_files
from u2pl_jax.data import image_files
from u2pl_jax.predict import photographs


def touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(found):
  return [image.name for image in found]


def test_photographs_are_read_as_everywhere(tmp_path):
  """Whose rule has tests of its own: `image_files`."""
  upright = np.arange(18, dtype=np.uint8).reshape(3, 2, 3)
  path = tmp_path / "a.png"
  stored = picture_files.store(upright, 6)
  path.write_bytes(picture_files.encode(stored, orientation=6))
  assert photographs.read_size(path) == (3, 2)
  np.testing.assert_array_equal(photographs.read(path), upright)
  path.write_bytes(picture_files.encode(np.uint16([[0, 50, 100]])))
  with pytest.raises(image_files.UnreadableError, match=f"^{path}: 16 bits"):
    photographs.read(path)
  found = photographs.read(path, (0, 100))
  assert found[0, :, 0].tolist() == [0, 128, 255]


def test_a_folder_is_searched_with_its_subfolders(tmp_path):
  touch(tmp_path, "b.JPG", "a.png", "sub/deep/c.webp", "phone.heic")
  touch(tmp_path, "notes.txt", ".hidden.png", ".cache/d.png", "no_ending")
  found = photographs.find(str(tmp_path))
  assert names(found) == ["a", "b", "phone", "sub/deep/c"]
  assert found[3].path == tmp_path / "sub" / "deep" / "c.webp"


def test_folders_can_be_left_out(tmp_path, monkeypatch):
  touch(tmp_path, "x/a.png", "x/out/masks/b.png", "x/out/c.png")
  monkeypatch.chdir(tmp_path / "x" / "out")
  for without in ("masks", "../out/masks", tmp_path / "x" / "out" / "masks"):
    found = photographs.find("../../x", [pathlib.Path(without)])
    assert names(found) == ["a", "out/c"]


def test_a_file_is_taken_whatever_its_ending(tmp_path):
  touch(tmp_path, "sub/photo", "sub/other.png")
  assert names(photographs.find(str(tmp_path / "sub" / "photo"))) == ["photo"]


def test_patterns_keep_what_follows_their_fixed_part(tmp_path):
  touch(tmp_path, "x/1/a.png", "x/2/b.jpg", "x/2/deep/c.jpg", "x/d.jpg")
  pattern = str(tmp_path / "x" / "*" / "*.jpg")
  assert names(photographs.find(pattern)) == ["2/b"]
  pattern = str(tmp_path / "x" / "**" / "*.jpg")
  assert names(photographs.find(pattern)) == ["2/b", "2/deep/c", "d"]
  (tmp_path / "x" / "folder.jpg").mkdir()
  assert names(photographs.find(str(tmp_path / "x" / "*.jpg"))) == ["d"]


def test_patterns_may_not_lead_out_of_their_folder(tmp_path):
  touch(tmp_path, "x/1/a.png", "b.png")
  with pytest.raises(ValueError, match=r"is not in .*x; use a pattern"):
    photographs.find(str(tmp_path / "x" / "*" / ".." / ".." / "b.png"))


def test_a_name_with_brackets_is_no_pattern(tmp_path):
  touch(tmp_path, "photos [1]/a.png")
  assert names(photographs.find(str(tmp_path / "photos [1]"))) == ["a"]


def test_files_that_differ_in_their_endings_keep_them(tmp_path):
  touch(tmp_path, "a.jpg", "a.png", "b.png", "sub/a.png")
  touch(tmp_path, "c.jpg", "c.jpg.png")
  assert names(photographs.find(str(tmp_path))) == [
    "a.jpg", "a.png", "b", "c", "c.jpg.png", "sub/a"
  ]  # fmt: skip


def test_nothing_found_is_one_line(tmp_path):
  touch(tmp_path, "notes.txt")
  for where, message in (
    (tmp_path, "no file that ends like an image"),
    (tmp_path / "*.png", "no such file"),
    (tmp_path / "absent", "no such file or folder"),
  ):
    with pytest.raises(FileNotFoundError, match=message) as caught:
      photographs.find(str(where))
    assert str(where) in str(caught.value)


def test_home_is_found(tmp_path, monkeypatch):
  touch(tmp_path, "photos/a.png")
  monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
  assert names(photographs.find("~/photos")) == ["a"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
  touch(tmp_path, "x/real/a.png", "elsewhere/b.png", "elsewhere/sub/c.png")
  touch(tmp_path, "out/masks/m.png")
  folder = tmp_path / "x"
  for name, target in {
    "again": "real",  # Comes before it.
    "real/self": ".",
    "real/up": "..",
    "zoo": "../elsewhere",
    "zoo2": "../elsewhere",
    "results": "../out",
    "broken": "nowhere",
    ".hidden": "../out",
  }.items():
    (folder / name).symlink_to(target)
  (tmp_path / "elsewhere" / "back").symlink_to(folder)
  (tmp_path / "named").symlink_to(folder)
  for where in (folder, tmp_path / "named"):
    found = photographs.find(str(where), [tmp_path / "out" / "masks"])
    assert names(found) == ["real/a", "zoo/b", "zoo/sub/c"]
  found = photographs.find(str(folder / "**" / "*.png"), [tmp_path / "out"])
  assert sorted(image.path.name for image in found) == ["a.png"] + [
    "b.png", "c.png", "m.png"
  ]  # fmt: skip
