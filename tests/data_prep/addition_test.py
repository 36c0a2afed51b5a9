"""Masks that come back from annotation tools, added to a dataset."""

import json
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import folder
from tests import tree_files
from tests.predict.annotation import unpacked
from u2pl_jax.data import datasets
from u2pl_jax.predict.annotation import cvat, label_studio, labels, plain

SIZE = (24, 32)
NAMES = {
  "with_background": ("background", "cat", "big dog"),
  "without": ("ground", "thing", "sky"),
}
TOOLS = {"masks": None, "cvat": cvat, "labelstudio": label_studio}


@pytest.fixture(scope="module", params=NAMES)
def data_dir(request, tmp_path_factory):
  """Holds the dataset `toy`: 6 images with masks, 3 others."""
  root = tmp_path_factory.mktemp(request.param)
  for i in range(6):
    tree_files.save_image(root / f"in/images/{i}.jpg", SIZE)
    label = tree_files.draw_label(i, SIZE)
    tree_files.save_mask(root / f"in/masks/{i}.png", label)
  for i in range(3):
    tree_files.save_image(root / f"more/sub/{i}.jpg", SIZE)
  classes = {"names": NAMES[request.param], "palette": tree_files.COLORS}
  (root / "in/classes.json").write_text(json.dumps(classes))
  flags = [f"--root={root / 'in'}", f"--unlabeled={root / 'more'}", "--val=2"]
  assert folder.main([*flags, "--name=toy", f"--data_dir={root / 'data'}"]) == 0
  return root / "data"


def add(data_dir, root, *flags, name="new"):
  return folder.main(
    [
      f"--root={root}",
      "--add_to=toy",
      f"--name={name}",
      f"--data_dir={data_dir}",
      "--overwrite",
      *flags,
    ]
  )


def read(name, data_dir, part):
  """{id: label} of all images with masks."""
  path = datasets.dataset_path(name, data_dir)
  records = tfds.builder_from_directory(path).as_data_source(part)
  return {
    record["id"].decode(): record["label"][..., 0]
    for record in records
    if record["has_label"]
  }


def draw(index):
  """Blobs of all values; of the background alone in a corner."""
  rng = np.random.default_rng(index)
  coarse = rng.choice([0, 1, 2, 255], (6, 8))
  label = coarse.repeat(4, 0).repeat(4, 1).astype(np.uint8)
  label[:5, :5] = 0
  return label


def write_items(folder, data_dir):
  """Predictions of the images without masks: items, and {id: mask}."""
  items, masks = [], {}
  for index in range(3):
    example_id = f"unlabeled/sub/{index}"
    masks[example_id] = draw(index)
    path = folder / f"predicted/{index}.png"
    tree_files.save_mask(path, masks[example_id])
    image = data_dir.parent / f"more/sub/{index}.jpg"
    items.append(labels.Item(example_id, image, path))
  return items, masks


def export_from_label_studio(folder):
  """What it exports of tasks whose predictions were accepted as they are."""
  tasks = json.loads((folder / "label_studio.json").read_text())
  for number, task in enumerate(tasks, 5):
    (prediction,) = task.pop("predictions")
    task["id"] = number
    task["annotations"] = [{"id": number, "result": prediction["result"]}]
    for region in prediction["result"]:
      size = region["original_height"], region["original_width"]
      pixels = unpacked.unpack(region["value"]["rle"], size)
      (label,) = region["value"]["brushlabels"]
      name = f"task-{number}-annotation-{number}-by-1-tag-{label}-0.png"
      tree_files.save_mask(folder / "export" / name, pixels)
  (folder / "export/project.json").write_text(json.dumps(tasks))
  return folder / "export"


@pytest.mark.parametrize("tool", TOOLS)
def test_masks_come_back_as_they_went(tool, data_dir, tmp_path):
  dataset = datasets.open_dataset("toy", data_dir)
  items, masks = write_items(tmp_path, data_dir)
  known = labels.make(dataset.class_names, dataset.palette)
  root = tmp_path / "first"
  root.mkdir()
  module = TOOLS[tool]
  if module is None:
    plain.write(items, known, root)
  else:
    module.write(items, known, root)
  if tool == "cvat":
    zipfile.ZipFile(root / "cvat.zip").extractall(root / "export")
    root = root / "export"
  elif tool == "labelstudio":
    root = export_from_label_studio(root)
  assert add(data_dir, root) == 0
  found = read("new", data_dir, "train")
  for example_id, mask in masks.items():
    np.testing.assert_array_equal(found[example_id], mask)
  for example_id, mask in read("toy", data_dir, "train").items():
    np.testing.assert_array_equal(found[example_id], mask)
  new = datasets.open_dataset("new", data_dir)
  assert new.ids == dataset.ids and new.class_names == dataset.class_names
  assert new.contents["val"] == dataset.contents["val"]
  for key in ("class_map", "mask_values"):
    assert new.parameters[key] == dataset.parameters[key]


def test_all_images_that_have_masks_are_labeled(data_dir, tmp_path, capsys):
  dataset = datasets.open_dataset("toy", data_dir)
  # In a folder called masks, by a part of its path, and of an image that has a
  # mask already.
  labeled = read("toy", data_dir, "train")
  example_id, old = next(iter(labeled.items()))
  tree_files.save_mask(tmp_path / f"two/masks/{example_id}.png", 2 - old % 3)
  tree_files.save_mask(tmp_path / "two/masks/sub/1.png", draw(1))
  assert add(data_dir, tmp_path / "two") == 0
  printed = capsys.readouterr().out
  assert "2 masks of images of toy, of which 1 have one already" in printed
  new = datasets.open_dataset("new", data_dir)
  found = read("new", data_dir, "train")
  np.testing.assert_array_equal(found[example_id], 2 - old % 3)
  np.testing.assert_array_equal(found["unlabeled/sub/1"], draw(1))
  ids = new.ids["train"]
  split = datasets.read_split(new, "all")
  assert {ids[i] for i in split.labeled} == {*labeled, "unlabeled/sub/1"}
  assert [ids[i] for i in split.unlabeled] == [
    "unlabeled/sub/0", "unlabeled/sub/2"
  ]  # fmt: skip
  for name in datasets.list_splits(dataset):
    if name != "all":
      before = datasets.read_split(dataset, name)
      after = datasets.read_split(new, name)
      np.testing.assert_array_equal(after.labeled, before.labeled)
  (added,) = new.parameters["added"]
  assert added == {"to": "toy", "root": str(tmp_path / "two"), "masks": 2}


def test_there_is_no_split_of_all_once_none_is_left(data_dir, tmp_path, capsys):
  for index in range(3):
    tree_files.save_mask(tmp_path / f"sub/{index}.png", draw(index))
  assert add(data_dir, tmp_path, name="full") == 0
  assert "split all needs some without" in capsys.readouterr().out
  new = datasets.open_dataset("full", data_dir)
  assert "all" not in datasets.list_splits(new)
  assert all(new.has_label["train"])


def test_masks_without_a_file_of_classes_hold_ids_or_colors(data_dir, tmp_path):
  mask = draw(0)
  mask[mask == 255] = 1
  tree_files.save_mask(tmp_path / "sub/0.png", tree_files.to_colors(mask))
  tree_files.save_mask(tmp_path / "sub/1.png", draw(1))
  assert add(data_dir, tmp_path) == 0
  found = read("new", data_dir, "train")
  np.testing.assert_array_equal(found["unlabeled/sub/0"], mask)
  np.testing.assert_array_equal(found["unlabeled/sub/1"], draw(1))


def save_png(pixels):
  return lambda root: tree_files.save_mask(root / "sub/0.png", pixels)


def write_palette(root):
  """The colors of two classes, exchanged."""
  palette = [tree_files.COLORS[i] for i in (0, 2, 1)]
  tree_files.save_mask(root / "sub/0.png", draw(0) % 3, palette)


def write_unknown_class(root):
  tree_files.save_mask(root / "sub/0.png", np.ones(SIZE))
  names = {"names": [*NAMES["without"][:1], "boat", "background"]}
  (root / "classes.json").write_text(json.dumps(names))


def write_validation(root):
  """Masks of all images that have one; some of them are to validate on."""
  for i in range(6):
    tree_files.save_mask(root / f"{i}.png", draw(i))


@pytest.mark.parametrize(
  "write, words",
  [
    (write_palette, "its color [0, 120, 250] is that of"),
    (save_png(np.full((*SIZE, 3), 77)), "color [77, 77, 77]"),
    (save_png(np.full(SIZE, 9)), "label value 9"),
    (save_png(draw(0)[:, 1:]), "31x24 pixels, but its image"),
    (lambda root: tree_files.save_mask(root / "x.png", draw(0)), "is called"),
    (write_unknown_class, "holds class 'boat', which toy does not have"),
    (write_validation, "is of a validation image of toy"),
    (lambda root: None, "there are no masks"),
  ],
)
def test_masks_that_do_not_fit_are_named(
  write, words, data_dir, tmp_path, capsys
):
  (tmp_path / "root").mkdir()
  write(tmp_path / "root")
  before = sorted(data_dir.iterdir())
  assert add(data_dir, tmp_path / "root", name="none") == 1
  message = capsys.readouterr().err
  line = next(line for line in message.splitlines() if words in line)
  assert str(tmp_path / "root") in line
  assert sorted(data_dir.iterdir()) == before


def test_names_that_exist_or_do_not_are_refused(data_dir, tmp_path, capsys):
  tree_files.save_mask(tmp_path / "sub/0.png", draw(0))
  flags = [f"--root={tmp_path}", f"--data_dir={data_dir}"]
  for names, words in (
    (("toy", "toy"), "give --overwrite to replace it, or another --name"),
    (("absent", "new"), "no prepared dataset 'absent'"),
    (("toy", "Bad"), "name 'Bad'"),
  ):
    add_to, name = names
    assert folder.main([*flags, f"--add_to={add_to}", f"--name={name}"]) == 1
    assert words in capsys.readouterr().err
  with pytest.raises(SystemExit):
    folder.main([*flags, "--add_to=toy", "--name=new", "--val=3"])
  assert "--val goes without --add_to" in capsys.readouterr().err


def test_a_dataset_may_take_the_place_of_itself(data_dir, tmp_path):
  tree_files.save_mask(tmp_path / "sub/2.png", draw(2))
  flags = [f"--root={tmp_path}", f"--data_dir={data_dir}", "--overwrite"]
  assert folder.main([*flags, "--add_to=toy", "--name=copy"]) == 0
  assert folder.main([*flags, "--add_to=copy", "--name=copy"]) == 0
  dataset = datasets.open_dataset("copy", data_dir)
  assert [added["to"] for added in dataset.parameters["added"]] == [
    "toy", "copy"
  ]  # fmt: skip
  found = read("copy", data_dir, "train")
  np.testing.assert_array_equal(found["unlabeled/sub/2"], draw(2))
