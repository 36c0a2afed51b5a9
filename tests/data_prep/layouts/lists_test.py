"""Lists of ids and of files: their forms, places and faults."""

import pytest

from data_prep import folder
from data_prep.layouts import tree
from tests import named_files, tree_files

touch, read, pairs, ids = (
  named_files.touch,
  named_files.read,
  named_files.pairs,
  named_files.ids,
)
IMAGES, MASKS = "JPEGImages", "SegmentationClass"
LINE = "{images}/{name}.jpg {masks}/{name}.png"


@pytest.fixture
def root(tmp_path):
  """Images a to e and "my f", all with masks, and one bare."""
  root = tmp_path / "tree"
  for name in ("a", "b", "c", "d", "e", "my f"):
    touch(root, f"{IMAGES}/{name}.jpg", f"{MASKS}/{name}.png")
  touch(root, f"{IMAGES}/bare.jpg")
  return root


def write(root, name, *lines):
  tree_files.write_lines(root / f"{name}.txt", lines)


def lines(form, *names, root=""):
  return [
    form.format(name=n, images=IMAGES, masks=MASKS, root=root) for n in names
  ]


FORMS = {
  "ids": "{name}",
  "ids with endings": "{name}.jpg",
  "images": "{images}/{name}.jpg",
  "pairs": LINE,
  "pairs with tabs": "{images}/{name}.jpg\t{masks}/{name}.png  ",
  "pairs with commas": "{images}/{name}.jpg, {masks}/{name}.png",
  "pairs with a slash first": "/{images}/{name}.jpg /{masks}/{name}.png",
  "pairs with a dot first": "./{images}/{name}.jpg ./{masks}/{name}.png",
  "absolute pairs": "{root}/{images}/{name}.jpg {root}/{masks}/{name}.png",
  "pairs of another computer": (
    "/home/me/set/{images}/{name}.jpg /home/me/set/{masks}/{name}.png"
  ),
  "names alone": "{name}.jpg {name}.png",
}


@pytest.mark.parametrize("place", ["", "ImageSets/Segmentation/", "splits/"])
@pytest.mark.parametrize("form", FORMS)
def test_lists_of_every_form_are_read(root, form, place):
  form = FORMS[form]
  write(root, f"{place}train", *lines(form, "a", "b", "my f", root=root))
  write(root, f"{place}val", *lines(form, "c", root=root))
  found = read(root)
  assert not found.problems
  assert pairs(found) == {
    name: (f"{name}.jpg", f"{name}.png") for name in ("a", "b", "my f", "c")
  }
  assert ids(found.val) == ["c"]


@pytest.mark.parametrize("form", ["ids", "pairs", "absolute pairs"])
def test_lists_of_semi_supervised_splits_say_what_to_train_on(root, form):
  form = FORMS[form]
  write(root, "splits/pascal/val", *lines(form, "e", root=root))
  for split, labeled in (("1_8", ["a"]), ("1_4", ["a", "my f"])):
    rest = [n for n in ("a", "b", "my f") if n not in labeled]
    top = f"splits/pascal/{split}"
    write(root, f"{top}/labeled", *lines(form, *labeled, root=root))
    write(root, f"{top}/unlabeled", *lines(form, *rest, root=root))
  (root / "splits/pascal/.ipynb_checkpoints").mkdir()
  found = read(root)
  assert not found.problems
  assert sorted(ids(found.train)) == ["a", "b", "my f"]
  assert found.split_lists == {
    "1_8": (["a"], ["b", "my f"]),
    "1_4": (["a", "my f"], ["b"]),
  }


def test_lists_at_the_root_are_a_split(root):
  write(root, "labeled", *lines(LINE, "a", "b"))
  # Without a mask, and with one that is not there.
  write(root, "unlabeled", f"{IMAGES}/bare.jpg", *lines(LINE, "c"))
  (root / MASKS / "c.png").unlink()
  write(root, "val", *lines(LINE, "d"))
  found = read(root)
  assert not found.problems
  assert found.split_lists == {"own": (["a", "b"], ["bare", "c"])}
  assert not found.train[-1].has_mask


def test_splits_of_several_datasets_ask_which(root):
  for name in ("pascal", "camvid"):
    write(root, f"splits/{name}/1_8/labeled", "a")
    write(root, f"splits/{name}/1_8/unlabeled", "b")
  write(root, "splits/val", "c")
  with pytest.raises(ValueError, match=r"splits=splits/camvid\|splits/pascal"):
    read(root)
  assert list(read(root, splits="splits/pascal").split_lists) == ["1_8"]


@pytest.mark.parametrize(
  "line, part",
  [
    (f"{IMAGES}/x.jpg {MASKS}/x.png", "has no image"),
    (f"{IMAGES}/a.jpg {MASKS}/x.png", f"there is no mask {MASKS}/x.png"),
    (f"{IMAGES}/b.jpg {MASKS}/a.png", "b.jpg has the mask"),
    (f"{IMAGES}/b.jpg {MASKS}/b.png", "'b' occurs 2 times"),
  ],
)
def test_faulty_line_is_named(root, line, part):
  write(root, "train", *lines(LINE, "a", "b"), line)
  write(root, "val", *lines(LINE, "c"))
  problems = read(root).problems
  assert any(part in p and "train.txt" in p for p in problems), problems


def test_validation_line_without_a_mask_is_named(root):
  write(root, "train", *lines(LINE, "a", "b"))
  write(root, "val", f"{IMAGES}/bare.jpg")
  (problem,) = read(root).problems
  assert "val.txt: id 'bare' has no mask" in problem


def test_images_of_no_list_and_of_the_test_list_are_said(root):
  write(root, "train", "a", "b")
  write(root, "val", "c")
  write(root, "test", "d")
  first, second = read(root).notes
  assert "the 1 images of" in first and "test.txt" in first
  assert second == "left out: 3 images that no list names"


def test_without_a_list_of_validation_images_they_are_drawn(root):
  write(root, "train", "a", "b", "c", "bare")
  found = read(root)
  assert ids(found.train) == ["a", "b", "c", "bare"] and found.val is None


def test_masks_of_no_image_are_named_beside_lists_too(root):
  write(root, "train", "a", "bare")
  write(root, "val", "c")
  touch(root, f"{MASKS}/bare_.png")
  (problem,) = read(root).problems
  assert "bare_.png" in problem and "matches no image" in problem
  assert not read(root, allow_unmatched=True).problems


def test_mask_of_another_format_is_named_beside_lists_too(root):
  tree_files.write_lines(root / "train.txt", ["a", "bare"])
  tree_files.write_lines(root / "val.txt", ["c"])
  (root / MASKS / "bare.mat").write_bytes(b"x")
  (problem,) = read(root).problems
  assert "bare.mat: masks are read from" in problem


def test_missing_list_that_is_given_is_named(root):
  write(root, "train", "a")
  with pytest.raises(FileNotFoundError, match="mine.txt: no such list"):
    folder.read_tree(root, tree.Options(val_list="mine"))
