"""Pixels of each class, as the masks have them."""

import numpy as np

from tests import toy_dataset, voc_tree
from u2pl_jax.data import datasets, label_counts


def test_counts_are_those_of_the_masks(tmp_path):
  dataset = toy_dataset.make(tmp_path)
  split = datasets.read_split(dataset, "few")
  found = label_counts.count_pixels(dataset, split.labeled)
  masks = [voc_tree.draw_mask(f"train_{i}") for i in range(5)]
  expected = [sum((mask == c).sum() for mask in masks) for c in range(3)]
  np.testing.assert_array_equal(found, expected)
