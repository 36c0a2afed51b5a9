"""Faulty input is named, and a dataset already written is left as it is."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep import folder
from tests import picture_files, voc_tree
from u2pl_jax.data import datasets, input_pipeline, options


@pytest.fixture(scope="module")
def original(tmp_path_factory):
  """A good tree of JPEGs and PNGs, and the dataset made of it."""
  path = tmp_path_factory.mktemp("original")
  tree = voc_tree.write(path / "tree")
  palette = [[0, 0, 0], [10, 20, 30], [200, 0, 0]]
  classes = {"names": voc_tree.CLASS_NAMES, "palette": palette}
  (tree / "classes.json").write_text(json.dumps(classes))
  (tree / "JPEGImages/train_0.png").unlink()
  voc_tree.write_image(tree, "train_0", ".jpg")
  assert folder.main(arguments(path)) == 0
  return path


@pytest.fixture
def place(original, tmp_path):
  return shutil.copytree(original, tmp_path / "place")


def arguments(place, *options):
  return [
    f"--root={place / 'tree'}",
    "--name=toy",
    f"--data_dir={place / 'data'}",
    *options,
  ]


def read_all(path):
  return {
    str(p.relative_to(path)): p.read_bytes() if p.is_file() else None
    for p in path.rglob("*")
  }


def image_path(tree, example_id="train_1"):
  return tree / f"JPEGImages/{example_id}.png"


def mask_path(tree, example_id="train_1"):
  return tree / f"SegmentationClass/{example_id}.png"


def truncate_jpeg(tree):
  path = tree / "JPEGImages/train_0.jpg"
  path.write_bytes(path.read_bytes()[:-300])


def save_16_bit_image(tree, example_id="train_1"):
  pixels = voc_tree.draw_image(example_id)[..., 0].astype(np.uint16)
  Image.fromarray(pixels).save(image_path(tree, example_id))


def save_image_with_a_fourth_band(tree):
  path = image_path(tree)
  pixels = np.asarray(Image.open(path).convert("RGBA"))
  path.unlink()
  path.with_suffix(".jpg").write_bytes(picture_files.tiff(pixels, 2))


def empty_image(tree, example_id="train_1"):
  image_path(tree, example_id).write_bytes(b"")


def mirror_image_by_tag(tree):
  """Nothing tells which of the two pictures the mask was drawn on."""
  path = tree / "JPEGImages/train_0.jpg"
  content = picture_files.encode(Image.open(path), "JPEG", orientation=2)
  path.write_bytes(content)


def label_nothing(tree, example_id="train_1"):
  mask = voc_tree.draw_mask(example_id)
  voc_tree.write_mask(tree, example_id, np.full_like(mask, 255))


def label_nothing_of_validation(tree):
  label_nothing(tree, "val_1")


def label_nothing_at_all(tree):
  shutil.rmtree(tree / "splits")
  for i in range(6):
    label_nothing(tree, f"train_{i}")


def save_mask_with_alpha(tree):
  image = Image.open(mask_path(tree)).convert("LA")
  image.putalpha(9)
  image.save(mask_path(tree))


def save_mask_of_another_size(tree, example_id="train_1"):
  voc_tree.write_mask(tree, example_id, voc_tree.draw_mask(example_id)[:, 1:])


def save_mask_with_unknown_id(tree, example_id="train_1"):
  mask = voc_tree.draw_mask(example_id)
  mask[0, :4] = 3
  voc_tree.write_mask(tree, example_id, mask)


def save_mask_with_unknown_color(tree, example_id="train_1"):
  mask = np.zeros_like(voc_tree.draw_image(example_id))
  mask[0, :2] = 10, 20, 31
  voc_tree.write_mask(tree, example_id, mask)


def repeat_an_id(tree):
  voc_tree.append(tree / "ImageSets/Segmentation/trainaug.txt", "train_1\n")


def list_an_unknown_id(tree):
  voc_tree.append(tree / "ImageSets/Segmentation/trainaug.txt", "nobody\n")


def remove_all_images(tree):
  shutil.rmtree(tree / "JPEGImages")
  (tree / "JPEGImages").mkdir()


FAULTS = {
  truncate_jpeg: "JPEGImages/train_0.jpg: cannot be decoded",
  save_16_bit_image: "JPEGImages/train_1.png: 16 bits a channel, values from",
  save_image_with_a_fourth_band: "JPEGImages/train_1.jpg: has 4 bands",
  empty_image: "JPEGImages/train_1.png: the file is empty",
  mirror_image_by_tag: "SegmentationClass/train_0.png: the orientation tag",
  label_nothing: "split few: id 'train_1' is among the labeled, but its mask",
  label_nothing_of_validation: (
    "SegmentationClass/val_1.png: a mask of val without a labeled pixel"
  ),
  label_nothing_at_all: "no training image has a mask with a labeled pixel",
  save_mask_with_alpha: "train_1.png: is transparent in places",
  save_mask_of_another_size: "SegmentationClass/train_1.png: ",
  save_mask_with_unknown_id: "train_1.png: label value 3 (4 pixels)",
  save_mask_with_unknown_color: (
    "SegmentationClass/train_1.png: color [10, 20, 31] (2 pixels)"
  ),
  repeat_an_id: "trainaug.txt: id 'train_1' occurs 2 times",
  list_an_unknown_id: "trainaug.txt: id 'nobody' has no image",
  remove_all_images: "there are no images at all",
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_fault_is_named_and_the_old_dataset_stays(place, capsys, spoil):
  before = read_all(place / "data")
  spoil(place / "tree")
  assert folder.main(arguments(place, "--overwrite")) == 1
  assert FAULTS[spoil] in capsys.readouterr().err
  assert read_all(place / "data") == before


def test_all_faults_of_a_run_are_named_together(place, capsys):
  tree = place / "tree"
  truncate_jpeg(tree)  # Of train_0.
  empty_image(tree, "train_1")
  save_mask_of_another_size(tree, "train_2")
  save_mask_with_unknown_id(tree, "train_3")
  save_mask_with_unknown_color(tree, "train_4")
  save_16_bit_image(tree, "train_5")
  list_an_unknown_id(tree)
  assert folder.main(arguments(place, "--overwrite")) == 1
  message = capsys.readouterr().err
  assert "error: 7 problems:" in message
  assert all(f"/train_{i}." in message for i in range(6))
  assert "'nobody'" in message


# Sets the limit itself: forking from a process that runs JAX is not safe.
WITH_SMALL_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from data_prep import folder
sys.exit(folder.main(sys.argv[1:]))
"""


def test_full_disk_is_named_and_the_old_dataset_stays(place):
  before = read_all(place / "data")
  finished = subprocess.run(
    [sys.executable, "-c", WITH_SMALL_FILES, *arguments(place), "--overwrite"],
    capture_output=True,
    text=True,
  )
  assert finished.returncode == 1
  (line,) = (s for s in finished.stderr.splitlines() if "error: " in s)
  assert "data/toy/1.0.0: cannot be written" in line
  assert read_all(place / "data") == before


def test_windows_lists_and_odd_names_are_read(place):
  tree = place / "tree"
  odd = "Straße 1 (süd)"
  voc_tree.write_image(tree, odd)
  voc_tree.write_mask(tree, odd, voc_tree.draw_mask(odd))
  for path in tree.rglob("*.txt"):
    text = path.read_text().rstrip("\n")
    if path.name in ("trainaug.txt", "labeled.txt"):
      text += f"\n{odd}"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
  assert folder.main(arguments(place, "--overwrite")) == 0
  dataset = datasets.open_dataset("toy", place / "data")
  assert dataset.ids["train"][-1] == odd
  split = datasets.read_split(dataset, "few")
  assert split.labeled.tolist() == [0, 1, 9]


def test_single_pixel_and_small_images_are_trained_on(place):
  tree = place / "tree"
  for example_id in ("train_0", "train_1"):  # The labeled ones.
    (tree / "JPEGImages" / f"{example_id}.jpg").unlink(missing_ok=True)
    Image.new("RGB", (1, 1), (1, 2, 3)).save(image_path(tree, example_id))
    Image.new("L", (1, 1), 2).save(mask_path(tree, example_id))
  assert folder.main(arguments(place, "--overwrite")) == 0
  dataset = datasets.open_dataset("toy", place / "data")
  stream = input_pipeline.make_train_iterator(
    dataset,
    datasets.read_split(dataset, "few"),
    options.DataOptions(batch_size_l=2, batch_size_u=2, crop_size=(65, 65)),
    seed=0,
  )
  batch = next(stream)
  assert batch["image_u"].shape == (2, 65, 65, 3)
  for label in batch["label_l"]:
    seen = label != 255
    assert seen.any() and (label[seen] == 2).all()


def test_color_masks_give_the_dataset_of_index_masks(place):
  before = read_all(place / "data")
  lookup = np.zeros((256, 3), np.uint8)
  lookup[[0, 1, 2, 255]] = (0, 0, 0), (10, 20, 30), (200, 0, 0), (9, 9, 9)
  for path in (place / "tree/SegmentationClass").glob("*.png"):
    Image.fromarray(lookup[np.asarray(Image.open(path))]).save(path)
  file = place / "tree/classes.json"
  classes = json.loads(file.read_text()) | {"ignore_colors": [[9, 9, 9]]}
  file.write_text(json.dumps(classes))
  assert folder.main(arguments(place, "--overwrite")) == 0
  after = read_all(place / "data")
  assert after.keys() == before.keys()
  records = [name for name in before if "array_record" in name]
  assert len(records) == 2
  assert all(after[name] == before[name] for name in records)
