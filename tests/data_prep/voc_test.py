"""PASCAL VOC: from trees and archives, whole and in part, or not at all."""

import os
import pathlib
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from data_prep import split_lists, voc
from tests import mini_voc, samples, voc_tree
from u2pl_jax.data import datasets, palettes


def fail(capsys, root, data_dir, *options):
  """Returns the lines of the error message of a run that must fail."""
  assert voc.main(mini_voc.arguments(root, data_dir, *options)) == 1
  assert not data_dir.exists() or not list(data_dir.iterdir())
  message = capsys.readouterr().err
  return message[message.index("error: ") :].splitlines()


def test_without_aug_only_splits_of_official_masks_are_there(
  tree, data_dir, capsys
):
  dataset = mini_voc.prepare(tree, data_dir)
  assert dataset.class_names == palettes.VOC_NAMES and dataset.num_classes == 21
  assert dataset.ids == {
    "train": (*mini_voc.OWN, *mini_voc.SBD),
    "val": tuple(mini_voc.VAL),
  }
  assert dataset.has_label["train"] == (True, True, False, False, False)
  assert datasets.list_splits(dataset) == ["1", "2"]
  text = capsys.readouterr().out
  assert "Without the splits 3: some of their labeled images" in text
  for i, label in (
    mini_voc.read_labels(dataset) | mini_voc.read_labels(dataset, "val")
  ).items():
    expected = 255 if i in mini_voc.SBD else voc_tree.draw_mask(i)
    np.testing.assert_array_equal(label, np.broadcast_to(expected, label.shape))


def test_with_aug_official_masks_go_first(tree, aug, data_dir, capsys):
  dataset = mini_voc.prepare(tree, data_dir, f"--aug={aug}")
  assert all(dataset.has_label["train"])
  assert datasets.list_splits(dataset) == ["1", "2", "3"]
  for i, label in (
    mini_voc.read_labels(dataset) | mini_voc.read_labels(dataset, "val")
  ).items():
    expected = (
      mini_voc.draw_aug(i) if i in mini_voc.SBD else voc_tree.draw_mask(i)
    )
    np.testing.assert_array_equal(label, expected)
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["1", "1", "of", "1", "100.0", "%"] in rows
  assert ["3", "1", "of", "3", "33.3", "%"] in rows


def test_aug_stands_in_for_an_official_mask_and_is_counted_as_such(
  tree, aug, data_dir, capsys
):
  (tree / "SegmentationClass" / f"{mini_voc.OWN[0]}.png").unlink()
  dataset = mini_voc.prepare(tree, data_dir, f"--aug={aug}")
  np.testing.assert_array_equal(
    mini_voc.read_labels(dataset)[mini_voc.OWN[0]],
    mini_voc.draw_aug(mini_voc.OWN[0]),
  )
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["2", "1", "of", "2", "50.0", "%"] in rows


def test_archives_and_folders_above_yield_the_same_records(
  tree, aug, tmp_path, data_dir
):
  expected = mini_voc.prepare(tree, data_dir, f"--aug={aug}")
  tar = mini_voc.pack_tar(tree, tmp_path / "VOCtrainval.tar")
  roots = (tar, tree.parent, tree.parents[1])
  augs = (
    mini_voc.pack_zip(aug, tmp_path / "aug.zip"),
    mini_voc.pack_zip(aug, tmp_path / "flat.zip", top=""),
    aug.parent,
  )
  for n, (root, masks) in enumerate(zip(roots, augs)):
    found = mini_voc.prepare(root, tmp_path / str(n), f"--aug={masks}")
    for ours, theirs in zip(found.files["train"], expected.files["train"]):
      content = pathlib.Path(ours).read_bytes()
      assert content == pathlib.Path(theirs).read_bytes()
    assert found.parameters["root"] == str(root.resolve())
    assert found.parameters["aug"] == str(masks.resolve())


def test_masks_mixed_into_the_official_folder_are_not_taken_for_official(
  tree, aug, data_dir, capsys
):
  shutil.copy(aug / f"{mini_voc.SBD[0]}.png", tree / "SegmentationClass")
  dataset = mini_voc.prepare(tree, data_dir)
  assert not dataset.has_label["train"][2]
  assert "Not used: 1 masks in SegmentationClass" in capsys.readouterr().out


def test_what_is_missing_is_told_by_kind(tree, aug, data_dir, capsys):
  (tree / "JPEGImages" / f"{mini_voc.SBD[1]}.jpg").unlink()
  for i in mini_voc.OWN + mini_voc.VAL:
    (tree / "SegmentationClass" / f"{i}.png").unlink()
  lines = fail(capsys, tree, data_dir)
  assert lines[0] == "error: 2 problems:"
  assert "1 of 6 files missing: 2008_2; to make" in lines[1]
  assert "--lists=tree" in lines[1]
  assert "3 of 3 files missing: 2007_1, 2007_2, 2009_1" in lines[2]
  for i in (mini_voc.SBD[2], mini_voc.VAL[0]):
    (aug / f"{i}.png").unlink()
  lines = fail(capsys, tree, data_dir, f"--aug={aug}")
  assert lines[0] == "error: 3 problems:"
  assert lines[2].endswith("1 of 3 files missing: 2009_1")
  assert lines[3].endswith(f"{aug}: 1 of 3 files missing: 2008_3")


def test_broken_files_are_reported_together(tree, aug, data_dir, capsys):
  image = tree / "JPEGImages" / f"{mini_voc.OWN[0]}.jpg"
  image.write_bytes(image.read_bytes()[:-200])
  (tree / "SegmentationClass" / f"{mini_voc.OWN[1]}.png").write_bytes(b"")
  colors = np.zeros((*voc_tree.draw_mask(mini_voc.SBD[0]).shape, 3), np.uint8)
  (aug / f"{mini_voc.SBD[0]}.png").write_bytes(mini_voc.encode(colors))
  (aug / f"{mini_voc.SBD[1]}.png").write_bytes(
    mini_voc.encode(mini_voc.draw_aug(mini_voc.SBD[1]) + np.uint8(10))
  )
  (aug / f"{mini_voc.SBD[2]}.png").write_bytes(
    mini_voc.encode(mini_voc.draw_aug(mini_voc.SBD[2])[1:])
  )
  lines = fail(capsys, tree, data_dir, f"--aug={aug}")
  assert lines[0] == "error: 5 problems:"
  for line, message in zip(
    lines[1:],
    (
      f"{image}: cannot be decoded",
      f"{mini_voc.OWN[1]}.png: the file is empty",
      f"{mini_voc.SBD[0]}.png: pixels of mode RGB",
      f"{mini_voc.SBD[1]}.png: label value 30",
      f"{mini_voc.SBD[2]}.png: ",
    ),
  ):
    assert message in line


def test_truncated_tar_and_entry_outside_are_refused(
  tree, tmp_path, data_dir, capsys
):
  tar = mini_voc.pack_tar(tree, tmp_path / "VOC.tar")
  os.truncate(tar, tar.stat().st_size // 2)
  (line,) = fail(capsys, tar, data_dir)[-1:]
  assert "VOC.tar: not a whole tar" in line or "VOC.tar: truncated" in line
  with tarfile.open(tar, "w") as archive:
    archive.add(tree, arcname="VOC2012")
    archive.addfile(tarfile.TarInfo("VOC2012/../../bashrc"))
  (line,) = fail(capsys, tar, data_dir)
  assert "entry 'VOC2012/../../bashrc' points outside" in line


def test_useless_sources_are_named(tree, aug, tmp_path, data_dir, capsys):
  (line,) = fail(capsys, aug, data_dir)
  assert "no folder JPEGImages" in line and "VOCtrainval" in line
  (line,) = fail(capsys, tmp_path / "nothing", data_dir)
  assert "nothing: no such file or folder" in line
  (line,) = fail(capsys, tree, data_dir, f"--aug={tree / 'JPEGImages'}")
  assert "no SegmentationClassAug/ID.png in it" in line
  mini_voc.write_aug(tmp_path / "b" / "SegmentationClassAug")
  (line,) = fail(capsys, tree, data_dir, f"--aug={tmp_path}")
  assert "several folders hold masks: SegmentationClassAug, b/Seg" in line
  shutil.copytree(tree / "JPEGImages", tmp_path / "other/VOC2012/JPEGImages")
  (line,) = fail(capsys, tmp_path, data_dir)
  assert "several folders hold JPEGImages: other/VOC2012/, tree/" in line
  shutil.move(tmp_path / "other/VOC2012", tmp_path / "other/VOC2007")
  mini_voc.prepare(tmp_path, data_dir)


def tree_lists(tree):
  """Makes the lists of `tree` ones of a part of it, sloppily written."""
  folder = tree / "ImageSets" / "Segmentation"
  (folder / "train.txt").write_bytes(b"2007_2")
  (folder / "trainaug.txt").write_bytes(b"\xef\xbb\xbf2007_2\r\n\r\n2008_1\r\n")
  return folder


def test_lists_of_the_tree_make_a_dataset_of_a_part(
  tree, aug, tmp_path, data_dir
):
  tree_lists(tree)
  shutil.copy(aug / "2008_1.png", tree / "SegmentationClass")
  tar = mini_voc.pack_tar(tree, tmp_path / "part.tar")
  dataset = mini_voc.prepare(tar, data_dir, "--lists=tree")
  assert dataset.ids == {
    "train": ("2007_2", "2008_1"),
    "val": tuple(mini_voc.VAL),
  }
  assert dataset.has_label["train"] == (True, True)
  assert datasets.list_splits(dataset) == ["1"]
  split = datasets.read_split(dataset, "1")
  assert list(split.labeled) == [0] and list(split.unlabeled) == [1]


def test_tree_without_trainaug_has_no_split(tree, data_dir):
  dataset = mini_voc.prepare(tree, data_dir, "--lists=tree")
  assert dataset.ids["train"] == tuple(mini_voc.OWN)
  assert not datasets.list_splits(dataset)


@pytest.mark.parametrize(
  "name, text, message",
  [
    ("train", "2007_1", "id '2007_1' is not in"),
    ("train", "2008_1", "id '2008_1' has no mask"),
    ("trainaug", "2008_1", "id '2008_1' occurs 2 times"),
    ("trainaug", "2009_1", "id '2009_1' is both in"),
    ("trainaug", "nobody", "1 of 4 files missing: nobody"),
    ("val", "2008_2", "id '2008_2' has no mask"),
    ("val", None, "val.txt: the list is empty"),
  ],
)
def test_faulty_lists_of_the_tree_are_named(
  tree, data_dir, capsys, name, text, message
):
  file = tree_lists(tree) / f"{name}.txt"
  file.write_bytes(f"{file.read_text()}\n{text}".encode() if text else b"")
  (line,) = fail(capsys, tree, data_dir, "--lists=tree")
  assert message in line


def test_missing_list_of_the_tree_is_named(tree, data_dir, capsys):
  (tree_lists(tree) / "val.txt").unlink()
  (line,) = fail(capsys, tree, data_dir, "--lists=tree")
  assert "no ImageSets/Segmentation/val.txt in it" in line


def test_all_of_voc_goes_in_from_its_archives(tmp_path, data_dir, capsys):
  """With the published lists; the images are of one pixel."""
  lists = split_lists.read(split_lists.FOLDERS["pascal"])
  own = {*lists.splits["1464"][0], *lists.val}
  mini_voc.write_pixels(tmp_path, lists.train + lists.val, own)
  dataset = mini_voc.prepare(
    tmp_path / "voc.tar", data_dir, f"--aug={tmp_path / 'aug.zip'}"
  )
  assert len(dataset.ids["train"]) == 10582 and len(dataset.ids["val"]) == 1449
  for name in lists.splits:
    split = datasets.read_split(dataset, name)
    assert len(split.labeled) == int(name.removeprefix("unimatch_"))
    assert len(split.labeled) + len(split.unlabeled) == 10582
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  share = f"{100 * 1464 / 10582:.3f}"
  assert ["1", "aeroplane", share, "%", "100.000", "%"] in rows
  assert ["1323", "1323", "of", "1323", "100.0", "%"] in rows
  assert ["2646", "1464", "of", "2646", "55.3", "%"] in rows


@samples.needed
def test_genuine_samples_keep_their_masks(data_dir):
  dataset = mini_voc.prepare(samples.VOC, data_dir, "--lists=tree")
  assert len(dataset.ids["train"]) == 34 and len(dataset.ids["val"]) == 23
  assert datasets.list_splits(dataset) == ["24"]
  labels = mini_voc.read_labels(dataset) | mini_voc.read_labels(dataset, "val")
  for i, label in labels.items():
    mask = Image.open(samples.VOC / "SegmentationClass" / f"{i}.png")
    np.testing.assert_array_equal(label, np.asarray(mask))
    colors = np.reshape(mask.getpalette(), (-1, 3))[:21]
    np.testing.assert_array_equal(colors, palettes.voc_palette(21))
    np.testing.assert_array_equal(colors, dataset.palette)
  sources = (samples.VOC / "sources.csv").read_text().splitlines()[1:]
  for i, kind, _ in (line.split(",") for line in sources):
    # Official masks have ignored borders, SBD's have none.
    assert (labels[i] == 255).any() == (kind in ("train1464", "val"))
