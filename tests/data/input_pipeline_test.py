"""The training stream as a function of the step.

With a crop larger than every image and neither scaling nor flips a crop shows
its whole image, so that each row of a batch can be told by its pixels.
"""

import collections
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import time

import numpy as np
import pytest
from array_record.python import array_record_module

from tests import toy_dataset, voc_tree
from u2pl_jax.data import datasets, input_pipeline, streams, supply
from u2pl_jax.data import options as data_options

WHOLE = {"crop_size": (32, 32), "scale_range": (1.0, 1.0), "flip_prob": 0.0}
# 5 labeled and 12 unlabeled images: neither divides by its batch.
SIZES = {"batch_size_l": 2, "batch_size_u": 4}


def make_stream(dataset, split, **options):
  """A stream by its settings and the other arguments, in one list."""
  names = data_options.DataOptions.defaults()
  settings = {name: options.pop(name) for name in names if name in options}
  return input_pipeline.make_train_iterator(
    dataset, split, data_options.DataOptions(**settings), **options
  )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return toy_dataset.make(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def split(dataset):
  return datasets.read_split(dataset, "few")


@pytest.fixture
def batches(dataset, split):
  """Returns the first batches of a stream."""

  def read(count, **options):
    options = {"crop_size": (24, 20), "seed": 3, "num_workers": 2} | options
    stream = make_stream(dataset, split, **(SIZES | options))
    return list(itertools.islice(stream, count))

  return read


def test_batches_have_documented_shapes_and_types(batches):
  (batch,) = batches(1)
  shapes = {key: (value.shape, value.dtype) for key, value in batch.items()}
  assert shapes == {
    "image_l": ((2, 24, 20, 3), np.uint8),
    "label_l": ((2, 24, 20), np.uint8),
    "image_u": ((4, 24, 20, 3), np.uint8),
  }


def test_labeled_images_come_with_their_own_masks(batches, dataset):
  for batch in batches(4, **WHOLE):
    ids = toy_dataset.find_ids(batch["image_l"], dataset.ids["train"])
    expected = np.stack([toy_dataset.whole_label(i) for i in ids])
    np.testing.assert_array_equal(batch["label_l"], expected)


def test_pad_label_fills_what_the_image_leaves(batches, dataset):
  (batch,) = batches(1, pad_label=0, **WHOLE)
  (first, _) = toy_dataset.find_ids(batch["image_l"], dataset.ids["train"])
  expected = toy_dataset.whole_label(first, 0)
  np.testing.assert_array_equal(batch["label_l"][0], expected)


def test_labeled_stream_shows_each_image_once_an_epoch(batches, dataset):
  stream = np.concatenate([b["image_l"] for b in batches(15, **WHOLE)])
  ids = toy_dataset.find_ids(stream, dataset.ids["train"])
  epochs = [tuple(ids[i : i + 5]) for i in range(0, 30, 5)]
  assert all(sorted(e) == [f"train_{i}" for i in range(5)] for e in epochs)
  assert len(set(epochs)) > 1


def test_unlabeled_stream_draws_without_replacement_in_an_epoch(
  batches, dataset, split
):
  assert input_pipeline.steps_per_epoch(split, 5) == 2
  options = WHOLE | {"batch_size_u": 5}
  stream = np.concatenate([b["image_u"] for b in batches(40, **options)])
  ids = toy_dataset.find_ids(stream, dataset.ids["train"])
  epochs = [tuple(ids[i : i + 10]) for i in range(0, 200, 10)]
  assert all(len(set(epoch)) == 10 for epoch in epochs)
  assert len(set(epochs)) == 20
  # 3 of 13 images sit out each epoch, others each time.
  counts = collections.Counter(ids)
  unlabeled = {dataset.ids["train"][i] for i in split.unlabeled}
  assert set(counts) == unlabeled and "train_0" not in unlabeled


def test_ids_at_a_step_are_those_of_its_batch(batches, dataset, split):
  ids = dataset.ids["train"]
  for step, batch in enumerate(batches(8, **WHOLE)):
    found = streams.ids_at_step(dataset, split, step, seed=3, **SIZES)
    assert found == {
      "labeled": toy_dataset.find_ids(batch["image_l"], ids),
      "unlabeled": toy_dataset.find_ids(batch["image_u"], ids),
    }


def test_ids_at_a_step_of_fixed_pairs_are_those_of_its_batch(
  batches, dataset, split
):
  ids, sizes = dataset.ids["train"], {"batch_size_l": 4, "batch_size_u": 4}
  for step, batch in enumerate(batches(4, pairing="fixed", **sizes, **WHOLE)):
    found = streams.ids_at_step(
      dataset, split, step, seed=3, pairing="fixed", **sizes
    )
    assert found["labeled"] == toy_dataset.find_ids(batch["image_l"], ids)


def test_without_unlabeled_images_a_step_has_labeled_ids_alone(dataset, split):
  sizes = {"batch_size_l": 2, "batch_size_u": 0}
  found = streams.ids_at_step(dataset, split, 4, seed=3, **sizes)
  assert list(found) == ["labeled"]


def test_crops_are_those_of_the_documented_draws(batches, dataset):
  """Any crop of a PNG image at scale 1 is a piece of it, perhaps mirrored."""
  options = {"crop_size": (16, 17), "scale_range": (1.0, 1.0)}
  seen = set()
  for batch in batches(6, **options):
    for crop in batch["image_u"]:
      places = [
        (example_id, flip)
        for example_id in dataset.ids["train"]
        for flip in (False, True)
        if is_piece(crop[:, ::-1] if flip else crop, example_id)
      ]
      assert len(places) == 1
      seen.add(places[0][1])
  assert seen == {False, True}


def is_piece(crop, example_id):
  image = voc_tree.draw_image(example_id)
  windows = np.lib.stride_tricks.sliding_window_view(image, crop.shape)
  return (windows == crop).all((-3, -2, -1)).any()


@pytest.mark.parametrize("start_step", [1, 7])
def test_resumed_stream_equals_uninterrupted_one(batches, start_step):
  expected = batches(start_step + 4)[start_step:]
  toy_dataset.assert_same_batches(batches(4, start_step=start_step), expected)


def test_stream_from_step_1000_is_the_same_whether_begun_at_0_or_there(
  dataset, split
):
  def start(step):
    return make_stream(
      dataset,
      split,
      batch_size_l=1,
      batch_size_u=1,
      crop_size=(16, 17),
      seed=5,
      start_step=step,
      num_workers=1,
    )

  toy_dataset.assert_same_batches(
    list(itertools.islice(start(1000), 3)),
    list(itertools.islice(start(0), 1000, 1003)),
  )


def test_far_steps_are_reached_at_once(batches):
  """10^12 replayed steps would take years."""
  assert len(batches(1, start_step=10**12)) == 1


def test_two_hosts_share_the_stream_of_one(batches):
  parts = [batches(4, process_index=i, process_count=2) for i in (0, 1)]
  joined = [
    {key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*parts)
  ]
  toy_dataset.assert_same_batches(joined, batches(4))


def test_stream_depends_on_the_seed_and_not_on_the_workers(batches):
  few, many = (batches(3, num_workers=count) for count in (1, 5))
  toy_dataset.assert_same_batches(few, many)
  other = batches(1, seed=4)[0]
  assert (other["image_l"] != batches(1)[0]["image_l"]).any()


def test_streams_need_not_be_of_one_length_or_batch_size(batches, dataset):
  """1 of 5 labeled and 13 of 13 unlabeled images a step."""
  options = {"batch_size_l": 1, "batch_size_u": 13}
  for batch in batches(3, **options, **WHOLE):
    shown = toy_dataset.find_ids(batch["image_u"], dataset.ids["train"])
    assert len(batch["image_l"]) == 1 and len(set(shown)) == 13


def test_memory_does_not_grow_with_the_epochs(batches, dataset, split):
  """A step's batch is 0.8 MiB, three epochs of 60 steps are 140 MiB."""
  status = pathlib.Path("/proc/self/statm")
  if not status.exists():
    pytest.skip("needs /proc, for the memory in use")
  stream = make_stream(
    dataset,
    split,
    batch_size_l=2,
    batch_size_u=4,
    crop_size=(200, 200),
    seed=0,
    num_workers=1,
  )
  sizes = []
  for _ in range(3):
    collections.deque(itertools.islice(stream, 60), maxlen=0)
    pages = int(status.read_text().split()[1])
    sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
  assert sizes[2] - sizes[0] < 15


def test_lists_as_long_as_those_of_voc_start_within_seconds(dataset, tmp_path):
  """10,582 images; CPU seconds, as others may use the machine."""
  count = 10582
  path = datasets.dataset_path("toy", tmp_path)
  shutil.copytree(dataset.path, path)
  repeat_train_records(path, count)
  start = time.process_time()
  opened = datasets.open_dataset("toy", tmp_path)
  split = datasets.read_split(opened, "few")
  stream = make_stream(
    opened, split, crop_size=(24, 20), seed=0, num_workers=1, **SIZES
  )
  next(stream)
  assert time.process_time() - start < 2
  assert len(split.labeled) + len(split.unlabeled) == count


def repeat_train_records(path, count):
  """Makes a dataset larger by showing its images under further names."""
  info = json.loads((path / "metadata.json").read_text())
  info["ids"]["train"] = [f"{i:05d}" for i in range(count)]
  info["has_label"]["train"] = [True] * count
  (path / "metadata.json").write_text(json.dumps(info))
  ids = info["ids"]["train"]
  voc_tree.write_list(path / "lists" / "few" / "labeled.txt", ids[:1464])
  voc_tree.write_list(path / "lists" / "few" / "unlabeled.txt", ids[1464:])
  (file,) = path.glob("toy-train.array_record-*")
  with contextlib.closing(
    array_record_module.ArrayRecordReader(str(file))
  ) as r:
    records = r.read_all()
  writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
  for i in range(count):
    writer.write(records[i % len(records)])
  writer.close()


def test_an_image_is_cropped_anew_each_time(batches):
  stream = np.concatenate([b["image_l"] for b in batches(30)])
  # Small images can come out alike; each of 5 would be seen 12 times.
  assert len({crop.tobytes() for crop in stream}) > 50


def test_without_unlabeled_images_image_u_is_left_out(batches):
  alone = batches(2, supply=supply.Supply())
  assert alone[0].keys() == {"image_l", "label_l"}
  labeled = alone[1]["image_l"]
  np.testing.assert_array_equal(labeled, batches(2)[1]["image_l"])


def test_short_lists_fill_a_batch_again_and_again(dataset, split):
  few = datasets.Split("few", split.labeled[:1], split.unlabeled[:3])
  sizes = {"batch_size_l": 4, "batch_size_u": 8}
  batch = next(make_stream(dataset, few, seed=3, **sizes, **WHOLE))
  (labeled,) = {image.tobytes() for image in batch["image_l"]}
  name = dataset.ids["train"][few.labeled[0]]
  assert labeled == toy_dataset.whole_image(name).tobytes()
  assert len({image.tobytes() for image in batch["image_u"]}) == 3
  assert input_pipeline.steps_per_epoch(few, 8) == 1


@pytest.mark.parametrize(
  "options, message",
  [
    ({"batch_size_l": 3, "process_count": 2}, "of 3 images .* 2 processes"),
    ({"batch_size_u": 3, "process_count": 2}, "of 3 images .* 2 processes"),
    ({"batch_size_l": 0}, "data.batch_size_l=0: must be >= 1"),
    ({"scale_range": (1.2, 2.0)}, "data.scale_range=.*: must hold 1"),
    ({"scale_range": (0.0, 2.0)}, "data.scale_range=.*and be > 0"),
    ({"flip_prob": 1.5}, "data.flip_prob=1.5: must be in"),
    ({"seed": -1}, "seed=-1 and start_step=0 must not be negative"),
  ],
)
def test_unusable_arguments_are_refused(batches, options, message):
  with pytest.raises(ValueError, match=message):
    batches(1, **options)
