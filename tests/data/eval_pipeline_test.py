"""Validation batches: each image once, whole or its center."""

import numpy as np
import pytest

from data_prep import folder
from tests import toy_dataset, voc_tree
from u2pl_jax.data import datasets, eval_pipeline
from u2pl_jax.ops import normalize


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return toy_dataset.make(tmp_path_factory.mktemp("prepared"))


def eval_batches(dataset, **options):
  options = {"batch_size": 4, "crop_size": (32, 32)} | options
  return eval_pipeline.make_eval_batches(dataset, **options)


def test_validation_shows_every_image_once_each_time(dataset):
  batches = eval_batches(dataset)
  assert len(batches) == 2
  for _ in range(2):
    images = np.concatenate([b["image"] for b in batches])
    labels = np.concatenate([b["label"] for b in batches])
    mask = np.concatenate([b["mask"] for b in batches])
    assert mask.tolist() == [True] * 7 + [False]
    ids = dataset.ids["val"]
    assert toy_dataset.find_ids(images[:7], ids) == list(ids)
    expected = np.stack([toy_dataset.whole_label(i) for i in ids])
    np.testing.assert_array_equal(labels[:7], expected)
    assert (labels[7] == 255).all()


def test_validation_takes_the_center_of_larger_images(dataset):
  batch = next(iter(eval_batches(dataset, crop_size=(12, 10))))
  for i, example_id in enumerate(dataset.ids["val"][:4]):
    image = voc_tree.draw_image(example_id)
    y, x = (image.shape[0] - 12) // 2, (image.shape[1] - 10) // 2
    expected = image[y : y + 12, x : x + 10]
    np.testing.assert_array_equal(batch["image"][i], expected)


@pytest.mark.parametrize(
  "batch_size, process_count", [(2, 2), (6, 2), (16, 2), (3, 3), (8, 8)]
)
def test_hosts_get_equally_many_validation_batches(
  dataset, batch_size, process_count
):
  options = {"batch_size": batch_size, "process_count": process_count}
  parts = [
    eval_batches(dataset, process_index=i, **options)
    for i in range(process_count)
  ]
  joined = [
    {key: np.concatenate([b[key] for b in step]) for key in step[0]}
    for step in zip(*parts, strict=True)
  ]
  assert len(joined) == len(parts[0])
  toy_dataset.assert_same_batches(
    joined, list(eval_batches(dataset, batch_size=batch_size))
  )
  shown = np.concatenate([batch["image"][batch["mask"]] for batch in joined])
  ids = list(dataset.ids["val"])
  assert toy_dataset.find_ids(shown, ids) == ids
  for batch in joined:
    assert (batch["label"][~batch["mask"]] == 255).all()


def test_validation_batch_must_divide_among_processes(dataset):
  with pytest.raises(ValueError, match="batch_size of 5 images .* 2 processes"):
    eval_batches(dataset, batch_size=5, process_count=2)


def test_records_are_found_in_every_shard(tmp_path, monkeypatch):
  monkeypatch.setattr("data_prep.writer._EXAMPLES_PER_SHARD", 2)
  tree = voc_tree.write(tmp_path / "tree", num_val=5)
  folder.prepare(tree, name="toy", data_dir=tmp_path / "data")
  dataset = datasets.open_dataset("toy", tmp_path / "data")
  assert len(dataset.files["val"]) == 3
  images = np.concatenate([b["image"] for b in eval_batches(dataset)])
  ids = dataset.ids["val"]
  assert toy_dataset.find_ids(images[:5], ids) == list(ids)


def test_whole_images_have_their_own_size_if_there_are_shapes_enough(dataset):
  seen = {}
  for batch in eval_batches(dataset, crop_size=None, batch_size=2):
    for i, record in enumerate(batch["record"]):
      if record >= 0:
        seen[int(record)] = {key: batch[key][i] for key in batch}
  assert sorted(seen) == list(range(7))
  for record, example_id in enumerate(dataset.ids["val"]):
    image = voc_tree.draw_image(example_id)
    np.testing.assert_array_equal(seen[record]["image"], image)
    np.testing.assert_array_equal(
      seen[record]["label"], voc_tree.draw_mask(example_id)
    )
    assert seen[record]["size"].tolist() == list(image.shape[:2])


def test_whole_images_are_padded_to_few_shapes(dataset):
  batches = list(
    eval_batches(dataset, crop_size=None, max_shapes=1, batch_size=4)
  )
  sizes = [voc_tree.draw_image(i).shape[:2] for i in dataset.ids["val"]]
  shape = tuple(np.max(sizes, axis=0))
  assert {batch["image"].shape[1:3] for batch in batches} == {shape}
  first = voc_tree.draw_image(dataset.ids["val"][0])
  expected = toy_dataset.pad(first, shape, normalize.MEAN_COLOR)
  np.testing.assert_array_equal(batches[0]["image"][0], expected)


def test_too_many_sizes_are_refused_where_none_may_be_padded(dataset):
  with pytest.raises(ValueError, match="eval.base_size: .* eval.max_shapes="):
    eval_batches(dataset, crop_size=None, max_shapes=1, may_pad=False)
  assert len(eval_batches(dataset, crop_size=None, may_pad=False)) > 1


@pytest.mark.parametrize("crop_size", [(32, 32), None])
@pytest.mark.parametrize("records", [(5,), (6, 0), ()])
def test_batches_of_some_images_are_those_among_all(
  dataset, crop_size, records
):
  options = {"crop_size": crop_size, "batch_size": 2}
  found = eval_batches(dataset, records=records, **options)
  expected = [
    batch
    for batch in eval_batches(dataset, **options)
    if set(batch["record"].tolist()) & set(records)
  ]
  assert len(found) == len(expected)
  toy_dataset.assert_same_batches(list(found), expected)


def test_records_and_sizes_stand_beside_the_images(dataset):
  first, second = eval_batches(dataset)
  assert first["record"].tolist() == [0, 1, 2, 3]
  assert second["record"].tolist() == [4, 5, 6, -1]
  assert (first["size"].dtype, first["size"].shape) == (np.int32, (4, 2))
