"""What is particular about the exports of annotation tools."""

import json

import numpy as np
import pytest
from PIL import Image

from data_prep import class_files, folder, split_lists
from data_prep.layouts import ade20k
from tests import mini_voc, named_files, tree_files, trees
from u2pl_jax.data import datasets

touch, read, ids = named_files.touch, named_files.read, named_files.ids


@pytest.fixture
def root(tmp_path):
  return tmp_path / "tree"


def run(tmp_path, *flags):
  return folder.main(
    [f"--root={tmp_path / 'tree'}", f"--data_dir={tmp_path / 'data'}"]
    + ["--name=mine", *flags]
  )


def fail(tmp_path, capsys, *flags):
  """Returns the one line of a run that must fail."""
  assert run(tmp_path, *flags) == 1
  (line,) = capsys.readouterr().err.splitlines()[-1:]
  assert not (tmp_path / "data/mine").exists()
  return line


def test_cvat_without_images_says_how_to_get_them(root, tmp_path):
  trees.write_cvat(root)
  (root / "JPEGImages").rename(tmp_path / "pictures")
  with pytest.raises(FileNotFoundError, match="--images=FOLDER"):
    read(root)
  assert len(read(root, images=str(tmp_path / "pictures")).train) == 8


def test_images_that_cvat_put_in_no_subset_are_trained_on(root):
  trees.write_cvat_subsets(root)
  lists = root / "ImageSets/Segmentation"
  first, *others = (lists / "Train.txt").read_text().splitlines()
  tree_files.write_lines(lists / "default.txt", [first])
  tree_files.write_lines(lists / "Train.txt", others)
  found = read(root)
  assert len(found.train) == 6 and len(found.val) == 2 and not found.problems


def test_classes_of_roboflow_must_agree(root, tmp_path, capsys):
  trees.write_roboflow(root)
  (root / "valid/_classes.csv").write_text("Pixel Value, Class\n0, a\n1, b\n")
  assert "say different things" in fail(tmp_path, capsys)


def test_test_images_of_roboflow_serve_where_there_are_no_others(root):
  trees.write_roboflow(root)
  for path in (root / "valid").iterdir():
    path.unlink()
  found = read(root)
  assert len(found.train) == 6 and len(found.val) == 1
  assert "test images serve" in "".join(found.notes)


def test_arrays_of_labelme_are_read_where_there_is_no_png(root, tmp_path):
  expected = trees.write_labelme(root)
  for path in (root / "SegmentationClassPNG").iterdir():
    path.unlink()
  assert run(tmp_path) == 0
  dataset = datasets.open_dataset("mine", tmp_path / "data")
  for part in ("train", "val"):
    for i, label in mini_voc.read_labels(dataset, part).items():
      np.testing.assert_array_equal(label, expected[i].label)


@pytest.mark.parametrize(
  "array, message",
  [
    (np.zeros((24, 32)), "dtype float64, must be whole numbers"),
    (np.zeros((24, 32, 3), int), "shape (24, 32, 3)"),
    (np.full((24, 32), -2), "values from -2 to -2"),
  ],
)
def test_arrays_of_something_else_are_named(
  root, tmp_path, capsys, array, message
):
  trees.write_labelme(root)
  for path in (root / "SegmentationClassPNG").iterdir():
    path.unlink()
  np.save(root / "SegmentationClass/n3.npy", array)
  line = fail(tmp_path, capsys)
  assert "n3.npy" in line and message in line


def test_one_dataset_of_a_supervisely_project_has_its_classes(
  root, tmp_path, capsys
):
  trees.write_supervisely(root)
  code = folder.main(
    [f"--root={root / 'ds0'}", f"--data_dir={tmp_path / 'data'}", "--name=mine"]
  )
  assert code == 0
  assert "classes from" in capsys.readouterr().out


def test_classes_of_ade20k_without_names_are_numbered(root, tmp_path, capsys):
  trees.write_ade20k(root)
  (root / "objectInfo150.txt").unlink()
  assert run(tmp_path) == 0
  output = capsys.readouterr().out
  assert "0 class 1" in output and "2 class 3" in output
  assert "0 in its masks is no class" in output


def test_the_whole_of_ade20k_brings_names_and_splits(
  root, tmp_path, monkeypatch
):
  trees.write_ade20k(root)
  train = [entry.id for entry in read(root).train]
  stems = [i.rpartition("/")[2] for i in train]
  monkeypatch.setattr(ade20k, "_TRAIN", frozenset(stems))
  monkeypatch.setattr(split_lists, "UNIMATCH", tmp_path / "lists")
  tree_files.write_lines(tmp_path / "lists/ade20k/2.txt", stems[:2])
  labeled, unlabeled = read(root).split_lists["2"]
  assert labeled == train[:2] and set(unlabeled) == set(train[2:])
  # The file of names in the tree counts more than the names known here.
  assert not any("known" in str(f) for f in read(root).class_folders)
  (root / "objectInfo150.txt").unlink()
  (known,) = (f for f in read(root).class_folders if "known" in str(f))
  table = class_files.read(class_files.find(known))
  assert len(table.names) == len(table.palette) == 150
  assert (table.names[0], table.names[149]) == ("wall", "flag")


def test_lists_of_ade20k_name_its_images():
  lists = split_lists.read_labeled(
    split_lists.UNIMATCH / "ade20k", ade20k._TRAIN
  )
  assert list(lists) == ["316", "631", "1263", "2526", "5052"]
  assert {len(labeled) + len(rest) for labeled, rest in lists.values()} == {
    20210
  }


def test_zero_in_masks_that_look_like_ade20k_may_be_a_class(
  root, tmp_path, capsys
):
  trees.write_ade20k(root)
  (root / "objectInfo150.txt").unlink()
  for path in (root / "annotations").rglob("*.png"):
    pixels = np.asarray(Image.open(path))
    Image.fromarray(np.where(pixels, pixels - 1, 255).astype("u1")).save(path)
  names = "--class_names=ground,thing,sky"
  line = fail(tmp_path, capsys, names)
  assert "--layout=folders if it is one, else --reduce_zero_label" in line
  assert run(tmp_path, names, "--layout=folders") == 0


def write_small(root, tasks, layers):
  """A Label Studio export of these tasks and names of layers."""
  root.mkdir(exist_ok=True)
  (root / "export.json").write_text(json.dumps(tasks))
  for name in layers:
    pixels = np.zeros((4, 6), np.uint8)
    pixels[:2] = 255
    Image.fromarray(pixels).save(root / name)


def write_photo(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
  "image, photo",
  [
    ("/data/upload/1/0a1b2c3d-cat.jpg", "cat.jpg"),
    ("/data/upload/1/0a1b2c3d-cat.jpg", "0a1b2c3d-cat.jpg"),
    ("/data/local-files/?d=set%2Fred/cat.jpg", "red/cat.jpg"),
    ("s3://bucket/a/b/my%20cat.jpg", "my cat.jpg"),
    ("https://x.org/cat.jpg?sig=1&x=2", "deep/cat.jpg"),
  ],
)
def test_image_of_a_task_is_found_by_its_minimal_export(root, image, photo):
  region = {"format": "rle", "rle": [1], "brushlabels": ["wild-cat"]}
  task = {"photo": image, "id": 4, "brush-1": [region], "annotation_id": 8}
  write_small(
    root, [task], ["task-4-annotation-8-by-me@x.org-brush-1-wild-cat-0.png"]
  )
  write_photo(root / photo)
  (entry,) = read(root).entries
  assert entry.id == photo.removesuffix(".jpg")
  assert [name for name, _ in entry.layers] == ["wild-cat"]


def test_two_images_of_one_name_in_a_label_studio_export(root):
  task = {"image": "https://x.org/cat.jpg", "id": 4}
  write_small(root, [task], ["task-4-annotation-8-by-1-tag-cat-0.png"])
  for name in ("red/cat.jpg", "blue/cat.jpg"):
    write_photo(root / name)
  (problem,) = read(root).problems
  assert "blue/cat.jpg and red/cat.jpg" in problem


def test_two_annotations_of_a_task_are_two_masks(root):
  trees.write_label_studio(root)
  touch(root, "task-7-annotation-5-by-2-tag-sky-0.png")
  (problem,) = read(root, images="images").problems
  assert "annotations 5 and 90 of task 7 are two masks" in problem
  assert "remove task-7-annotation-*" in problem


@pytest.mark.parametrize(
  "missing, message",
  [
    ("project-1.json", "export the project as JSON, too"),
    ("images/photo 0.jpg", "which is not there"),
  ],
)
def test_missing_part_of_a_label_studio_export_is_named(
  root, tmp_path, capsys, missing, message
):
  trees.write_label_studio(root)
  (root / missing).unlink()
  assert message in fail(tmp_path, capsys, "--images=images")


def test_layer_of_a_class_that_is_not_named_is_refused(root, tmp_path, capsys):
  trees.write_label_studio(root)
  tree_files.write_lines(root / "class_names.txt", ["background", "sky"])
  assert run(tmp_path, "--images=images") == 1
  assert "'big tree/wood' is no class" in capsys.readouterr().err
