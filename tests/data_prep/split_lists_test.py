"""The published lists: as published, and checked when read."""

import hashlib
import pathlib

import pytest

from data_prep import split_lists
from tests import voc_tree
from u2pl_jax.data import datasets

SHARED = pathlib.Path("../shared/splits")
# Of the published files, in order of their paths.
SHA256 = "38d5278e849f545a9f3a8102a87e62873496504d7a8b3942cdc5e73eba476c11"
SIZES = {
  "pascal": (
    10582,
    1449,
    "92 183 366 662 732 1323 1464 2646 5291"
    " unimatch_662 unimatch_1323 unimatch_2646",
  ),
  "cityscapes": (
    2975,
    500,
    "186 372 744 1488 unimatch_100 unimatch_186 unimatch_372 unimatch_744"
    " unimatch_1488",
  ),
}


def list_files(folder, *names):
  """Those of some of its folders, relative to it."""
  return sorted(
    path.relative_to(folder)
    for name in names or SIZES
    for path in (folder / name).rglob("*.txt")
  )


def test_lists_are_the_published_bytes():
  root = split_lists.FOLDERS["pascal"].parent
  digest = hashlib.sha256()
  for path in list_files(root):
    digest.update(path.as_posix().encode() + (root / path).read_bytes())
  assert digest.hexdigest() == SHA256


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}")
def test_lists_equal_the_shared_copy():
  root = split_lists.FOLDERS["pascal"].parent
  names = (*SIZES, "unimatch")
  assert list_files(root, *names) == list_files(SHARED, *names)
  for path in list_files(root, *names):
    assert (root / path).read_bytes() == (SHARED / path).read_bytes()


@pytest.mark.parametrize("name", SIZES)
def test_published_splits_cover_all_images(name):
  lists = split_lists.read(split_lists.FOLDERS[name])
  num_train, num_val, splits = SIZES[name]
  assert len(lists.train) == num_train and len(lists.val) == num_val
  assert list(lists.splits) == splits.split()
  for labeled, unlabeled in lists.splits.values():
    assert sorted(labeled + unlabeled) == list(lists.train)


def test_lists_of_other_authors_differ_as_they_say():
  """In how many images: the description of the lists."""
  for name, shared in (
    ("cityscapes", {"186": 8, "372": 48, "744": 182, "1488": 720}),
    ("pascal", {"662": 43, "1323": 172, "2646": 666}),
  ):
    splits = split_lists.read(split_lists.FOLDERS[name]).splits
    for size, count in shared.items():
      ours, theirs = (set(splits[key][0]) for key in (size, f"unimatch_{size}"))
      assert len(ours & theirs) == count


def test_labeled_lists_are_checked(tmp_path):
  (tmp_path / "2.txt").write_text("a\nb\n")
  lists = split_lists.read_labeled(tmp_path, ("c", "b", "a"))
  assert lists == {"2": (["a", "b"], ["c"])}
  (tmp_path / "3.txt").write_text("a\nz\n")
  with pytest.raises(ValueError) as error:
    split_lists.read_labeled(tmp_path, ("c", "b", "a"))
  assert "1 of 2 images are not among the training images" in str(error.value)
  assert "2 images, not the 3 of its name" in str(error.value)


def test_classic_splits_and_small_blender_ones_are_of_vocs_own_images():
  splits = split_lists.read(split_lists.FOLDERS["pascal"]).splits
  own = set(splits["1464"][0])
  within = [name for name in splits if own.issuperset(splits[name][0])]
  assert within == ["92", "183", "366", "662", "732", "1323", "1464"]
  assert not own.difference(splits["2646"][0])


@pytest.fixture
def folder(tmp_path):
  voc_tree.write_list(tmp_path / "val.txt", ["v"])
  for name, labeled, unlabeled in (("1", "a", "bc"), ("2", "cb", "a")):
    voc_tree.write_list(tmp_path / name / "labeled.txt", list(labeled))
    voc_tree.write_list(tmp_path / name / "unlabeled.txt", list(unlabeled))
  return tmp_path


def test_sloppy_lists_are_read(folder):
  (folder / "1/unlabeled.txt").write_bytes(b"\xef\xbb\xbfb\r\n\r\n c")
  lists = split_lists.read(folder)
  assert lists.train == ("a", "b", "c") and lists.val == ("v",)
  assert lists.splits == {"1": (["a"], ["b", "c"]), "2": (["c", "b"], ["a"])}


@pytest.mark.parametrize(
  "file, text, messages",
  [
    ("1/labeled.txt", "b", ["id 'b' is both in", "2 images, not the 1"]),
    ("1/unlabeled.txt", "c", ["1/unlabeled.txt: id 'c' occurs 2 times"]),
    ("1/unlabeled.txt", "d", ["2: 1 of 4 training images are in neither"]),
    ("val.txt", "v", ["val.txt: id 'v' occurs 2 times"]),
    ("val.txt", "a", ["val.txt: id 'a' is among the training images"]),
  ],
)
def test_faults_are_named(folder, file, text, messages):
  voc_tree.append(folder / file, text)
  with pytest.raises(ValueError) as error:
    split_lists.read(folder)
  assert len(error.value.problems) == len(messages)
  for problem, message in zip(error.value.problems, messages):
    assert message in problem


@pytest.mark.parametrize("file", ["val.txt", "2/labeled.txt"])
def test_missing_and_empty_lists_are_named(folder, file):
  (folder / file).write_text("\n")
  with pytest.raises(ValueError, match=f"{file}: the list is empty"):
    split_lists.read(folder)
  (folder / file).unlink()
  with pytest.raises(FileNotFoundError, match=f"{file}: no such list"):
    split_lists.read(folder)


def test_lists_of_unknown_and_maskless_images_are_named():
  problems = split_lists.find_problems(
    pathlib.Path("few"), ["a", "b"], ["x"], {"a", "b", "c"}, {"a"}
  )
  assert problems == [
    "few/unlabeled.txt: id 'x' is not among the training images",
    "few/labeled.txt: id 'b' has no mask",
    "few: 1 of 3 training images are in neither list: c",
  ]


def test_bytes_of_a_list_are_parsed_as_files_are(folder):
  content = (folder / "2/labeled.txt").read_bytes()
  assert datasets.parse_id_list(content, "x") == ["c", "b"]
  with pytest.raises(ValueError, match="x: not a UTF-8 text file"):
    datasets.parse_id_list(b"\xff\xfe", "x")
