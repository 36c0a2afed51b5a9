"""Validation images that are drawn, and what is left to train on."""

import numpy as np
import pytest

from data_prep import class_table, folder_validation, split_order
from data_prep.layouts import tree
from tests import tree_files

TABLE = class_table.make(tree_files.NAMES)


def draw_presence(seed, num_images, num_classes):
  rng = np.random.default_rng(seed)
  return rng.random((num_images, num_classes)) < rng.uniform(0.2, 0.6)


@pytest.mark.parametrize("seed", range(20))
def test_training_images_show_every_class(seed):
  presence = draw_presence(seed, num_images=12, num_classes=4)
  _, num_cover = split_order.draw_order(presence, seed)
  for count in range(1, 12 - num_cover + 1):
    drawn = split_order.draw_validation(presence, count, seed)
    assert len(set(drawn)) == count
    rest = np.delete(presence, drawn, axis=0)
    assert (rest.any(axis=0) == presence.any(axis=0)).all()


def test_validation_images_show_as_many_classes_as_they_can():
  presence = np.zeros((40, 6), bool)
  presence[:, 0] = True
  for label in range(1, 6):  # Each rare class in two images of its own.
    presence[[label, label + 20], label] = True
  for seed in range(10):
    drawn = split_order.draw_validation(presence, 5, seed)
    assert presence[drawn].any(axis=0).all()
    # With one image fewer, no class that could be shown is left out twice.
    drawn = split_order.draw_validation(presence, 4, seed)
    assert presence[drawn].any(axis=0).sum() == 5


def test_an_image_is_drawn_even_if_each_shows_a_class_of_its_own():
  drawn = split_order.draw_validation(np.eye(3, dtype=bool), 1, seed=0)
  assert len(drawn) == 1


def test_draw_is_a_function_of_the_seed():
  presence = np.ones((50, 2), bool)
  draws = [
    tuple(split_order.draw_validation(presence, 5, s)) for s in (3, 3, 4)
  ]
  assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
  "amount, total, count",
  [
    ("0.1", 30, 3),
    ("0.1", 6, 1),
    ("1/4", 10, 3),
    ("0.9", 3, 2),
    ("2", 6, 2),
    ("0.001", 9, 1),
  ],
)
def test_amounts_are_shares_or_numbers(amount, total, count):
  assert folder_validation.count_images(amount, total) == count


@pytest.mark.parametrize("amount", ["0", "x", "-1", "1.0", "3/2", "6", "nan"])
def test_impossible_amounts_are_refused(amount):
  with pytest.raises(ValueError, match=f"--val={amount}: must be a share"):
    folder_validation.count_images(amount, 6)


def read(tmp_path, num_masks, num_bare=0, splits=()):
  """A tree of images with masks and without."""
  entries = []
  for i in range(num_masks + num_bare):
    mask = tmp_path / f"{i}.png" if i < num_masks else None
    if mask:
      tree_files.save_mask(mask, tree_files.draw_label(i, (9, 12)))
    entries.append(tree.Entry(str(i), tmp_path / f"{i}.jpg", mask))
  lists = {"few": splits} if splits else {}
  return tree.Tree("", entries, None, (), split_lists=lists)


def test_images_without_masks_are_not_validated_on(tmp_path):
  found = read(tmp_path, num_masks=4, num_bare=30)
  drawn = folder_validation.draw(found, TABLE, "3", seed=0)
  assert len(drawn.val) == 3 and all(entry.has_mask for entry in drawn.val)
  assert len(drawn.train) == 31
  assert {e.id for e in drawn.entries} == {e.id for e in found.entries}


def test_images_of_splits_stay_with_them(tmp_path):
  found = read(tmp_path, num_masks=5, splits=(["0", "1"], ["2"]))
  drawn = folder_validation.draw(found, TABLE, "2", seed=0)
  assert [entry.id for entry in drawn.val] == ["3", "4"]
  found = read(tmp_path, num_masks=3, splits=(["0", "1"], ["2"]))
  with pytest.raises(ValueError, match="add val.txt"):
    folder_validation.draw(found, TABLE, "1", seed=0)


def test_masks_without_a_labeled_pixel_are_not_validated_on(tmp_path):
  found = read(tmp_path, num_masks=9)
  for i in range(7):
    tree_files.save_mask(tmp_path / f"{i}.png", np.full((9, 12), 255))
  drawn = folder_validation.draw(found, TABLE, "5", seed=0)
  assert len(drawn.val) == 1 and drawn.val[0].id in ("7", "8")


def test_a_single_mask_is_too_little(tmp_path):
  found = read(tmp_path, num_masks=1, num_bare=4)
  with pytest.raises(ValueError, match="1 images have masks; 2 are needed"):
    folder_validation.draw(found, TABLE, "0.1", seed=0)
