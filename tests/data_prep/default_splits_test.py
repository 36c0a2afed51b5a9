"""How many images the splits label that nobody asked for."""

import numpy as np
import pytest

from data_prep import default_splits, folder
from tests import tree_files, trees
from u2pl_jax.data import datasets


@pytest.mark.parametrize(
  "masked, images, cover, counts",
  [
    (160, 160, 3, {"1_2": 80, "1_4": 40, "1_8": 20, "1_16": 10}),
    (27, 27, 2, {"1_2": 14, "1_4": 7, "1_8": 3, "1_16": 2}),
    (27, 30, 1, {"1_2": 14, "1_4": 7, "1_8": 3, "1_16": 2, "all": 27}),
    (5, 5, 2, {"1_2": 3, "1_8": 2}),
    (2, 2, 2, {"1_8": 1}),
    (2, 9, 2, {"1_8": 2, "all": 2}),
    (1, 9, 1, {"1_8": 1, "all": 1}),
    (1, 1, 1, {}),
    (0, 4, 0, {}),
  ],
)
def test_counts_differ_and_show_every_class(masked, images, cover, counts):
  found, notes = default_splits.count_images(masked, images, cover)
  assert found == counts
  assert all(count < images for count in found.values())
  assert notes or found


def test_what_is_other_than_its_name_says_is_told():
  _, notes = default_splits.count_images(40, 40, 4)
  assert notes == ["1_16: 4 images, the least that show every class"]
  _, notes = default_splits.count_images(4, 4, 4)
  assert notes == [
    "1_8: 3 images, all but one; 4 are needed to show every class"
  ]
  _, (note,) = default_splits.count_images(1, 1, 1)
  assert "1 of 1 training images have masks" in note and "--unlabeled" in note


def test_masks_without_a_labeled_pixel_are_not_labeled(tmp_path):
  trees.write_voc(tmp_path / "tree", num_images=10, size=(9, 12))
  for i in range(5):
    blank = np.full((9, 12), 255)
    tree_files.save_mask(
      tmp_path / f"tree/SegmentationClass/photo {i}.png", blank
    )
  folder.prepare(tmp_path / "tree", name="toy", data_dir=tmp_path / "data")
  dataset = datasets.open_dataset("toy", tmp_path / "data")
  for split in ("1_8", "all"):
    for record in datasets.read_split(dataset, split).labeled:
      assert dataset.ids["train"][record] in ("photo 5", "photo 6", "photo 7")


def test_splits_follow_the_seed_and_are_nested(tmp_path, capsys):
  trees.write_folders(tmp_path / "tree", num_images=20, size=(9, 12))
  labeled = {}
  for seed in (0, 1):
    data_dir = tmp_path / f"data{seed}"
    settings = folder.Settings(seed=seed)
    folder.prepare(
      tmp_path / "tree", name="toy", data_dir=data_dir, settings=settings
    )
    dataset = datasets.open_dataset("toy", data_dir)
    labeled[seed] = {
      split: set(datasets.read_split(dataset, split).labeled)
      for split in datasets.list_splits(dataset)
    }
  for splits in labeled.values():
    assert splits["1_8"] < splits["1_4"] < splits["1_2"]
  assert labeled[0] != labeled[1]
  assert capsys.readouterr().out.count("labeled images that show") == 2
