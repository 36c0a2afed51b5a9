"""Folders of images and of masks: names, parts, and what is refused."""

import pytest

from tests import named_files as names

touch, read, pairs, ids = names.touch, names.read, names.pairs, names.ids


@pytest.mark.parametrize(
  "images, masks",
  [
    ("images", "masks"),
    ("img", "ann"),
    ("imgs", "labels"),
    ("Images", "Annotations"),
    ("JPEGImages", "SegmentationClass"),
    ("photos", "ground_truth"),
    ("image", "label"),
  ],
)
def test_usual_names_are_known(tmp_path, images, masks):
  touch(tmp_path, f"{images}/a/1.jpg", f"{masks}/a/1.png", f"{images}/2.JPG")
  found = read(tmp_path)
  assert found.title == "two folders" and found.val is None
  assert pairs(found) == {"a/1": ("1.jpg", "1.png"), "2": ("2.JPG", None)}


def test_other_names_are_given(tmp_path):
  touch(tmp_path, "a/rgb8/1.jpg", "b/cls/1.png")
  with pytest.raises(ValueError, match="no layout fits; it holds a/, b/"):
    read(tmp_path)
  found = read(tmp_path, images="a/rgb8", masks="b/cls")
  assert pairs(found) == {"1": ("1.jpg", "1.png")}


def test_missing_folder_that_is_given_is_named(tmp_path):
  touch(tmp_path, "a/1.jpg", "masks/1.png")
  with pytest.raises(FileNotFoundError, match="x: no such folder"):
    read(tmp_path, images="x", masks="masks")


PARTS = {
  "kind first": ("images/train", "masks/train", "images/val", "masks/val"),
  "part first": ("train/images", "train/masks", "valid/images", "valid/masks"),
  "joined": ("train_images", "train_masks", "val_images", "val_masks"),
  "CamVid": ("train", "trainannot", "val", "valannot"),
  "Massachusetts": ("train", "train_labels", "val", "val_labels"),
  "capitals": ("Train/Images", "Train/Labels", "Val/Images", "Val/Labels"),
}


@pytest.mark.parametrize("name", PARTS)
def test_folders_of_parts_serve_as_lists(tmp_path, name):
  train, train_masks, val, val_masks = PARTS[name]
  # The same name in both parts is of two images.
  touch(tmp_path, f"{train}/1.jpg", f"{train_masks}/1.png", f"{train}/2.jpg")
  touch(tmp_path, f"{val}/1.jpg", f"{val_masks}/1.png")
  found = read(tmp_path)
  assert not found.problems
  assert [e.has_mask for e in found.train] == [True, False]
  (entry,) = found.val
  assert entry.mask == tmp_path / val_masks / "1.png"
  assert entry.id.lower() in ("val/1", "valid/1")
  assert len(set(ids(found.entries))) == 3


def test_test_images_are_left_out_or_serve_for_validation(tmp_path):
  touch(tmp_path, "train/images/1.jpg", "train/masks/1.png")
  touch(tmp_path, "test/images/2.jpg")
  found = read(tmp_path)
  assert ids(found.train) == ["train/1"] and found.val is None
  assert "left out: 1 test images" in found.notes
  touch(tmp_path, "test/masks/2.png")
  found = read(tmp_path)
  assert ids(found.val) == ["test/2"]
  assert "test images serve for validation" in found.notes[0]


def test_validation_image_without_a_mask_is_named(tmp_path):
  touch(tmp_path, "images/train/1.jpg", "masks/train/1.png")
  touch(tmp_path, "images/val/2.jpg", "images/val/3.jpg", "masks/val/3.png")
  (problem,) = read(tmp_path).problems
  assert "images/val/2.jpg" in problem and "no mask" in problem


@pytest.mark.parametrize(
  "image, mask",
  [
    ("{}", "{}_mask"),
    ("{}", "{}-gt"),
    ("{}", "mask_{}"),
    ("img_{}", "mask_{}"),
    ("{}_leftImg8bit", "{}_gtFine_labelIds"),
    ("{}_sat", "{}_mask"),
    ("{}", "{}.jpg"),
  ],
)
def test_a_common_mark_of_masks_is_found_and_said(tmp_path, image, mask):
  stems = ("1", "10", "11", "100", "a_b")
  touch(tmp_path, *(f"images/{image.format(n)}.jpg" for n in stems))
  touch(tmp_path, *(f"masks/{mask.format(n)}.png" for n in stems[1:]))
  found = read(tmp_path)
  assert not found.problems
  assert pairs(found) == {
    image.format(n): (
      f"{image.format(n)}.jpg",
      f"{mask.format(n)}.png" if n != "1" else None,
    )
    for n in stems
  }
  if mask != "{}.jpg":  # The name of the whole image is its own.
    assert found.notes == (
      [f"by their names, the mask of {image.format('NAME')} is "
       f"{mask.format('NAME')}"]
    )  # fmt: skip


def test_several_masks_of_each_image_ask_for_a_suffix(tmp_path):
  for name in ("ulm_1", "ulm_2"):
    touch(tmp_path, f"leftImg8bit/train/ulm/{name}_leftImg8bit.png")
    for kind in ("color", "instanceIds", "labelIds"):
      touch(tmp_path, f"gtFine/train/ulm/{name}_gtFine_{kind}.png")
  with pytest.raises(ValueError, match="--mask_suffix=_gtFine_color|") as error:
    read(tmp_path)
  assert "_gtFine_labelIds" in str(error.value)
  found = read(tmp_path, mask_suffix="_gtFine_labelIds")
  assert not found.problems
  assert [e.mask.name for e in found.train] == [
    "ulm_1_gtFine_labelIds.png",
    "ulm_2_gtFine_labelIds.png",
  ]
  assert any("left out: 4 files" in note for note in found.notes)


def test_plain_and_marked_masks_of_each_image_ask_for_a_suffix(tmp_path):
  for name in "abc":
    touch(tmp_path, f"images/{name}.jpg", f"masks/{name}.png")
    touch(tmp_path, f"masks/{name}_view.png")
  with pytest.raises(ValueError, match="--mask_suffix=_view"):
    read(tmp_path)


@pytest.mark.parametrize(
  "spoil, parts",
  [
    (["masks/lost.png"], ["masks/lost.png", "matches no image"]),
    (["masks/IMG_1.png"], ["masks/IMG_1.png", "matches no image"]),
    (["masks/a.tif"], ["masks/a.png and", "masks/a.tif", "several masks"]),
    (["masks/a.PNG"], ["a.PNG", "several masks of one image"]),
    (["images/a.png"], ["id 'a' has several images", "a.jpg and"]),
    (["images/e.jpg", "masks/e.ppm"], ["masks/e.ppm: masks are read from"]),
    (["masks/lost.ppm"], ["masks/lost.ppm", "matches no image"]),
  ],
)
def test_files_that_fit_nothing_are_named(tmp_path, spoil, parts):
  for name in "abcd":
    touch(tmp_path, f"images/{name}.jpg", f"masks/{name}.png")
  touch(tmp_path, *spoil)
  (problem,) = read(tmp_path).problems
  assert all(part in problem for part in parts), problem


def test_mask_of_a_format_that_is_no_image_is_named(tmp_path):
  touch(tmp_path, "images/a.jpg", "masks/a.png", "images/b.jpg")
  for name in ("b.mat", "b.json", "notes.mat"):
    (tmp_path / "masks" / name).write_bytes(b"x")
  (problem,) = read(tmp_path).problems
  assert "masks/b.mat: masks are read from" in problem


def test_masks_without_images_may_be_left_out(tmp_path):
  touch(tmp_path, "images/a.jpg", "masks/a.png", "masks/lost.png")
  assert not read(tmp_path, allow_unmatched=True).problems


def test_two_folders_of_masks_ask_which(tmp_path):
  touch(tmp_path, "images/a.jpg", "masks/a.png", "labels/a.png")
  with pytest.raises(ValueError, match=r"give --masks=labels\|masks"):
    read(tmp_path)
  assert read(tmp_path, masks="labels").train[0].mask.parent.name == "labels"


def test_notes_of_annotation_tools_are_no_masks(tmp_path):
  touch(tmp_path, "images/a.jpg", "masks/a.png")
  (tmp_path / "annotations").mkdir()
  (tmp_path / "annotations/a.json").write_text("{}")
  (tmp_path / "masks/a.json").write_text("{}")
  assert not read(tmp_path).problems


def test_layouts_that_both_fit_are_named(tmp_path):
  touch(tmp_path, "images/training/a.jpg", "annotations/training/a.png")
  touch(tmp_path, "img_dir/train/a.jpg", "ann_dir/train/a.png")
  with pytest.raises(ValueError, match=r"--layout=ade20k\|mmsegmentation"):
    read(tmp_path)
  assert read(tmp_path, layout="mmsegmentation").title == "MMSegmentation"


@pytest.mark.parametrize("suffix", ["_mask", "_L", "-labels", "_seg"])
def test_masks_beside_images_are_found_by_their_suffix(tmp_path, suffix):
  for name in ("1", "10", "b/x_1"):
    touch(tmp_path, f"{name}.png", f"{name}{suffix}.png")
  touch(tmp_path, "bare.png")
  found = read(tmp_path)
  assert found.title == "images with masks beside them"
  assert pairs(found)["b/x_1"] == ("x_1.png", f"x_1{suffix}.png")
  assert pairs(found)["bare"] == ("bare.png", None)
  touch(tmp_path, f"lost{suffix}.png")
  (problem,) = read(tmp_path).problems
  assert "lost" in problem and "matches no image" in problem


def test_png_beside_jpeg_is_its_mask(tmp_path):
  touch(tmp_path, "data/1.jpg", "data/1.png", "data/2.jpg", "data/2.png")
  assert pairs(read(tmp_path)) == {
    "1": ("1.jpg", "1.png"),
    "2": ("2.jpg", "2.png"),
  }


def test_links_are_followed_and_hidden_things_are_not_read(tmp_path):
  root = tmp_path / "tree"
  touch(tmp_path, "far/pictures/a.jpg", "far/masks/a.png")
  root.mkdir()
  (root / "images").symlink_to(tmp_path / "far/pictures")
  (root / "masks").symlink_to(tmp_path / "far/masks")
  (tmp_path / "far/pictures/again").symlink_to(tmp_path / "far/pictures")
  touch(root, ".ipynb_checkpoints/a.jpg", "__MACOSX/images/a.jpg")
  touch(root, "images/.ipynb_checkpoints/b.jpg", "images/._a.jpg")
  touch(root, "masks/.a.png")
  (root / "images/Thumbs.db").write_bytes(b"x")
  found = read(root)
  assert pairs(found) == {"a": ("a.jpg", "a.png")} and not found.problems


def test_link_to_a_folder_that_is_gone_is_named(tmp_path):
  touch(tmp_path, "images/a.jpg", "masks/a.png")
  (tmp_path / "images/more").symlink_to(tmp_path / "unmounted")
  with pytest.raises(FileNotFoundError, match="images/more: a link to"):
    read(tmp_path)


def test_folder_in_a_folder_is_looked_into(tmp_path):
  touch(tmp_path, "export/set/images/a.jpg", "export/set/masks/a.png")
  touch(tmp_path, "__MACOSX/export/x.png")
  (tmp_path / "README.txt").write_text("hello")
  assert pairs(read(tmp_path)) == {"a": ("a.jpg", "a.png")}


def test_unlabeled_folders_are_added_under_names_of_their_own(tmp_path):
  touch(tmp_path, "tree/images/a.jpg", "tree/masks/a.png", "tree/extra/a.jpg")
  touch(tmp_path, "far/a.jpg", "far/b/a.png", "tree/images/unlabeled/c.jpg")
  found = read(tmp_path / "tree", unlabeled=["extra", str(tmp_path / "far")])
  assert ids(found.train) == [
    "a",
    "unlabeled/c",
    "unlabeled_2/a",
    "unlabeled_3/a",
    "unlabeled_3/b/a",
  ]
  assert sum(entry.has_mask for entry in found.train) == 1
  with pytest.raises(FileNotFoundError, match="--unlabeled=nowhere"):
    read(tmp_path / "tree", unlabeled=["nowhere"])
