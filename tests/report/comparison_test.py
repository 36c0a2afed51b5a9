"""Which images a comparison of runs shows."""

import numpy as np
import pytest

from u2pl_jax.report import comparison

NAN = np.nan


def choose(mious, count, order="mean"):
  chosen = comparison.choose_records(np.array(mious, float), count, order)
  return [records.tolist() for records in chosen]


def test_worst_median_and_best_are_by_the_mean_or_the_first_run():
  mious = [[9, 0], [1, 1], [5, 5], [7, 3.5], [2, 9]]
  assert choose(mious, 1) == [[1], [2], [4]]
  assert choose(mious, 1, "first") == [[1], [2], [0]]


def test_each_kind_goes_from_worse_to_better():
  mious = [[miou] for miou in (8, 7, 6, 5, 4, 3, 2, 1, 0)]
  assert choose(mious, 2) == [[8, 7], [5, 4], [1, 0]]
  assert choose(mious, 3) == [[8, 7, 6], [5, 4, 3], [2, 1, 0]]


@pytest.mark.parametrize("num_images", [3, 4, 5, 8, 20])
def test_no_image_is_shown_twice(num_images):
  rng = np.random.default_rng(num_images)
  kinds = choose(rng.random((num_images, 2)), 7)
  assert len({len(records) for records in kinds}) == 1
  everything = sum(kinds, [])
  assert len(set(everything)) == len(everything) >= min(num_images - 2, 18)


def test_images_without_a_label_have_no_rank():
  mious = [[NAN], [3], [NAN], [1], [2]]
  assert choose(mious, 5) == [[3], [4], [1]]
  with pytest.raises(ValueError, match="2 validation images have labels"):
    choose([[NAN], [3], [1]], 1)
