"""Ids that Cityscapes' own evaluation wants, and back."""

import numpy as np

from u2pl_jax.data import cityscapes_labels

# By hand: road, sidewalk, building, ..., motorcycle, bicycle.
LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28]
LABEL_IDS += [31, 32, 33]


def test_train_ids_become_those_of_the_label_files():
  label_ids = cityscapes_labels.to_label_ids(np.arange(19, dtype=np.uint8))
  assert label_ids.tolist() == LABEL_IDS and label_ids.dtype == np.uint8


def test_ignored_pixels_become_unlabeled():
  mask = np.uint8([[255, 0], [18, 255]])
  label_ids = cityscapes_labels.to_label_ids(mask)
  assert label_ids.tolist() == [[0, 7], [33, 0]]


def test_there_and_back_is_exact():
  train_ids = np.append(np.arange(19, dtype=np.uint8), np.uint8(255))
  label_ids = cityscapes_labels.to_label_ids(train_ids)
  back = cityscapes_labels.to_train_ids(label_ids)
  np.testing.assert_array_equal(back, train_ids)
