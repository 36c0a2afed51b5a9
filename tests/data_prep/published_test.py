"""What is known of published datasets that are not there."""

import pytest

from data_prep import published


@pytest.mark.parametrize(
  "name, split, classes, labeled, unlabeled",
  [
    ("voc", "1464", 21, 1464, 9118),
    ("voc", "1323", 21, 1323, 9259),
    ("cityscapes", "372", 19, 372, 2603),
    ("cityscapes", "unimatch_372", 19, 372, 2603),
    ("ade20k", "631", 150, 631, 19_579),
  ],
)
def test_counts_classes_and_images(
  tmp_path, name, split, classes, labeled, unlabeled
):
  data = {"name": name, "split": split, "data_dir": str(tmp_path)}
  dataset, found = published.stand_in(data)
  assert dataset.name == name and dataset.num_classes == classes
  assert (len(found.labeled), len(found.unlabeled)) == (labeled, unlabeled)


@pytest.mark.parametrize(
  "name, split",
  [
    ("camvid", "1_8"),
    ("voc", "1_8"),
    ("voc", ""),
    ("ade20k", "1464"),
    ("pascal", "1464"),
  ],
)
def test_of_others_nothing_is_known(tmp_path, name, split):
  data = {"name": name, "split": split, "data_dir": str(tmp_path)}
  assert published.stand_in(data) is None


def test_a_dataset_that_is_there_is_opened(tmp_path):
  (tmp_path / "voc" / "1.0.0").mkdir(parents=True)
  data = {"name": "voc", "split": "1464", "data_dir": str(tmp_path)}
  assert published.stand_in(data) is None
