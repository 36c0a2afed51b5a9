"""VOC-style trees: what is read, and what is refused."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from data_prep import folder, make_splits
from tests import voc_tree
from u2pl_jax.data import datasets, input_pipeline, options


@pytest.fixture
def tree(tmp_path):
  return voc_tree.write(tmp_path / "tree")


@pytest.fixture
def data_dir(tmp_path):
  return tmp_path / "data"


def arguments(tree, data_dir, *options):
  return [f"--root={tree}", "--name=toy", f"--data_dir={data_dir}", *options]


def prepare(tree, data_dir, *options):
  assert folder.main(arguments(tree, data_dir, *options)) == 0
  return datasets.open_dataset("toy", data_dir)


def fail(capsys, tree, data_dir, *options):
  """Returns the lines of the error message of a run that must fail."""
  assert folder.main(arguments(tree, data_dir, *options)) != 0
  assert not data_dir.exists() or not list(data_dir.iterdir())
  message = capsys.readouterr().err
  return message[message.index("error: ") :].splitlines()


def list_of(tree, name):
  return tree / "ImageSets" / "Segmentation" / f"{name}.txt"


def test_tree_becomes_a_dataset(tree, data_dir, capsys):
  dataset = prepare(tree, data_dir)
  assert dataset.class_names == voc_tree.CLASS_NAMES
  assert len(dataset.ids["train"]) == 9 and len(dataset.ids["val"]) == 3
  assert datasets.list_splits(dataset) == ["few"]
  table = capsys.readouterr().out
  assert "ignored (255)" in table and "few" in table


def test_tree_without_splits_gets_some_by_default(tree, data_dir, capsys):
  (tree / "splits").rename(tree.parent / "elsewhere")
  dataset = prepare(tree, data_dir)
  # Six masks: an eighth and a sixteenth are both one image.
  assert datasets.list_splits(dataset) == ["1_2", "1_4", "1_8", "all"]
  sizes = {s: len(datasets.read_split(dataset, s).labeled) for s in ("1_2",)}
  assert sizes == {"1_2": 3}
  split = datasets.read_split(dataset, "all")
  assert len(split.labeled) == 6 and len(split.unlabeled) == 3
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["labeled", "images", "6", "1", "2", "3", "6"] in rows
  make_splits.make_splits("toy", data_dir, labeled=["4"])
  split = datasets.read_split(dataset, "4")
  assert len(split.labeled) == 4 and len(split.unlabeled) == 5


def test_images_of_no_split_serve_where_there_are_no_lists(tree, data_dir):
  (tree / "ImageSets").rename(tree.parent / "elsewhere")
  dataset = prepare(tree, data_dir)
  assert len(dataset.ids["val"]) == 1 and dataset.ids["val"][0][:4] == "val_"
  assert datasets.list_splits(dataset) == ["few"]


def test_classes_without_a_file_are_the_values_of_masks(tree, data_dir, capsys):
  (tree / "classes.json").unlink()
  dataset = prepare(tree, data_dir)
  assert dataset.class_names == ("class 0", "class 1", "class 2")
  assert "classes from the values in the masks" in capsys.readouterr().out


def test_train_list_serves_where_there_is_no_trainaug(tree, data_dir):
  list_of(tree, "trainaug").unlink()
  unlabeled = tree / "splits/few/unlabeled.txt"
  voc_tree.write_list(unlabeled, [f"train_{i}" for i in range(2, 6)])
  dataset = prepare(tree, data_dir)
  assert dataset.ids["train"] == tuple(f"train_{i}" for i in range(6))


def test_names_and_folders_can_be_given(tree, data_dir):
  (tree / "JPEGImages").rename(tree / "pictures")
  (tree / "SegmentationClass").rename(tree / "masks")
  (tree / "ImageSets" / "Segmentation").rename(tree / "lists")
  (tree / "lists/train.txt").rename(tree / "lists/official.txt")
  (tree / "splits/few/unlabeled.txt").write_text("train_2\n")
  (tree / "splits").rename(tree / "divisions")
  (tree / "classes.json").unlink()
  dataset = prepare(
    tree,
    data_dir,
    "--images=pictures",
    "--masks=masks",
    "--lists=lists",
    "--train_list=official",
    "--val_list=val",
    "--splits=divisions",
    "--class_names=ground,thing,light sky",
  )
  assert dataset.class_names == ("ground", "thing", "light sky")
  assert len(dataset.ids["train"]) == 6


def test_palette_of_the_tree_is_kept(tree, data_dir):
  palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
  classes = {"names": voc_tree.CLASS_NAMES, "palette": palette}
  (tree / "classes.json").write_text(json.dumps(classes))
  dataset = prepare(tree, data_dir)
  assert dataset.palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))


def test_sloppy_lists_and_odd_names_are_read(tree, data_dir):
  composed, decomposed = "caf\u00e9 noir", "cafe\u0301 noir"
  voc_tree.write_image(tree, decomposed, ".JPG")
  voc_tree.write_mask(tree, decomposed, voc_tree.draw_mask(decomposed))
  voc_tree.write_image(tree, "shelf/a.b")
  path = list_of(tree, "trainaug")
  text = path.read_text() + f"\n{composed}\nshelf/a.b"
  path.write_bytes(text.replace("\n", "\r\n").encode())
  dataset = prepare(tree, data_dir)
  assert dataset.ids["train"][-2:] == (composed, "shelf/a.b")
  assert dataset.has_label["train"][-2:] == (True, False)


def test_image_without_mask_serves_unlabeled(tree, data_dir):
  dataset = prepare(tree, data_dir)
  split = datasets.read_split(dataset, "few")
  assert not all(dataset.has_label["train"][i] for i in split.unlabeled)
  settings = options.DataOptions(
    batch_size_l=1, batch_size_u=7, crop_size=(17, 17)
  )
  stream = input_pipeline.make_train_iterator(dataset, split, settings, seed=0)
  assert next(stream)["image_u"].shape == (7, 17, 17, 3)


def truncate(path):
  path.write_bytes(path.read_bytes()[:-100])


def test_all_faulty_files_are_reported_together(tree, data_dir, capsys):
  images, masks = tree / "JPEGImages", tree / "SegmentationClass"
  truncate(images / "train_0.png")
  (images / "unmasked_0.png").unlink()
  voc_tree.write_mask(tree, "train_1", voc_tree.draw_mask("train_1")[1:])
  voc_tree.write_mask(tree, "val_0", voc_tree.draw_mask("val_0") // 4 * 3)
  (masks / "val_1.png").write_bytes(b"")
  (masks / "val_2.png").unlink()
  lines = fail(capsys, tree, data_dir)
  assert lines[0] == "error: 6 problems:"
  text = "\n".join(lines)
  for part in (
    "trainaug.txt: id 'unmasked_0' has no image",
    "val.txt: id 'val_2' has no mask",
    "JPEGImages/train_0.png: cannot be decoded",
    "SegmentationClass/train_1.png: ",
    "SegmentationClass/val_0.png: label value 189",
    "SegmentationClass/val_1.png: the file is empty",
  ):
    assert part in text


@pytest.mark.parametrize(
  "file, text, message",
  [
    ("splits/few/unlabeled.txt", "train_0\n", "'train_0' is both in"),
    ("splits/few/labeled.txt", "train_0\n", "'train_0' occurs 2 times"),
    ("splits/few/labeled.txt", "nobody\n", "is not among the training"),
    ("ImageSets/Segmentation/trainaug.txt", "train_0", "occurs 2 times"),
    ("ImageSets/Segmentation/trainaug.txt", "nobody", "has no image"),
    ("ImageSets/Segmentation/val.txt", "train_5", "'train_5' is both in"),
  ],
)
def test_faulty_list_is_refused_in_one_line(
  tree, data_dir, capsys, file, text, message
):
  voc_tree.append(tree / file, text)
  (line,) = fail(capsys, tree, data_dir)
  assert message in line and file in line


def test_labeled_id_without_mask_is_refused(tree, data_dir, capsys):
  (tree / "SegmentationClass/train_1.png").unlink()
  (line,) = fail(capsys, tree, data_dir)
  assert "labeled.txt: id 'train_1' has no mask" in line


@pytest.mark.parametrize(
  "file",
  [
    "splits/few/unlabeled.txt",
    "splits/few/labeled.txt",
    "ImageSets/Segmentation/val.txt",
  ],
)
def test_empty_list_is_refused(tree, data_dir, capsys, file):
  (tree / file).write_text("\n")
  (line,) = fail(capsys, tree, data_dir)
  assert f"{file}: the list is empty" in line


def test_image_in_two_formats_is_refused(tree, data_dir, capsys):
  voc_tree.write_image(tree, "train_3", ".jpg")
  (line,) = fail(capsys, tree, data_dir)
  assert "id 'train_3' has several images" in line and "train_3.jpg" in line


@pytest.mark.parametrize(
  "missing, message",
  [
    ("JPEGImages", "JPEGImages: no such folder"),
    ("splits/few/labeled.txt", "labeled.txt: no such list"),
    ("", "tree: no such folder"),
  ],
)
def test_missing_part_of_the_tree_is_named(
  tree, data_dir, capsys, missing, message
):
  (tree / missing).rename(tree.parent / "elsewhere")
  (line,) = fail(capsys, tree, data_dir)
  assert message in line


@pytest.mark.parametrize(
  "content, message",
  [
    ("{", "not a JSON file"),
    ("[]", "must hold"),
    ('{"names": ["a", 2]}', "must hold"),
    ('{"names": ["a", "a"]}', "no two the same"),
    ('{"names": ["a"]}', "must be 2 to 255"),
    ('{"names": ["a", "b"], "ignore_label": 0}', "ignore_label is 0"),
    ('{"names": ["a", "b"], "palette": [[0, 0, 0]]}', "must hold 2 colors"),
    ('{"names": ["a", "b"], "palette": [[0], [1]]}', "must hold 2 colors"),
  ],
)
def test_faulty_classes_are_refused(tree, data_dir, capsys, content, message):
  (tree / "classes.json").write_text(content)
  (line,) = fail(capsys, tree, data_dir)
  assert message in line


def test_existing_dataset_is_not_replaced_unasked(tree, data_dir, capsys):
  prepare(tree, data_dir)
  assert folder.main(arguments(tree, data_dir)) != 0
  assert "give --overwrite" in capsys.readouterr().err
  voc_tree.write_list(tree / "splits/few/labeled.txt", ["train_0"])
  dataset = prepare(tree, data_dir, "--overwrite")
  assert np.array_equal(datasets.read_split(dataset, "few").labeled, [0])


def test_killed_run_leaves_nothing_finished_and_a_rerun_completes(
  tree, data_dir
):
  image = tree / "JPEGImages/train_3.png"
  content = image.read_bytes()
  image.unlink()
  os.mkfifo(image)  # Reading it waits for ever.
  command = [sys.executable, "-m", "data_prep.folder"]
  with subprocess.Popen(command + arguments(tree, data_dir)) as process:
    deadline = time.monotonic() + 60
    while not list(data_dir.rglob("*.json")) and time.monotonic() < deadline:
      time.sleep(0.05)
    process.kill()
  assert [p.name for p in (data_dir / "toy").iterdir()] == [".incomplete"]
  with pytest.raises(FileNotFoundError, match="no prepared dataset"):
    datasets.open_dataset("toy", data_dir)
  image.unlink()
  image.write_bytes(content)
  prepare(tree, data_dir)
  assert [p.name for p in (data_dir / "toy").iterdir()] == ["1.0.0"]
