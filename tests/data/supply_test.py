"""What batches hold: its description, and that batches keep to it."""

import dataclasses

import numpy as np
import pytest

from tests import toy_dataset, voc_tree
from u2pl_jax.data import datasets, input_pipeline, options, streams, supply

SETTINGS = options.DataOptions(
  batch_size_l=2,
  batch_size_u=4,
  crop_size=(32, 32),
  scale_range=(1.0, 1.0),
  flip_prob=0.0,
  num_workers=2,
)
PARTNER = supply.Partner(0.5, (0.5, 1.5))
EVERYTHING = supply.Supply(
  unlabeled=True,
  padding=True,
  positions=True,
  second="requested",
  requests=("class_u2",),
  lag=2,
  partner=PARTNER,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return toy_dataset.make(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def split(dataset):
  return datasets.read_split(dataset, "few")


@pytest.fixture
def open_batches(dataset, split):
  def open_them(what, settings=SETTINGS, **arguments):
    return input_pipeline.make_train_iterator(
      dataset, split, settings, supply=what, **({"seed": 3} | arguments)
    )

  return open_them


def shapes_of(arrays):
  return {name: (a.shape, np.dtype(a.dtype)) for name, a in arrays.items()}


def ask(batches, step, places=(0, 1, 2, 3)):
  numbers = {"position_u2": places, "class_u2": (7, 8, 9, 10)}
  batches.ask(step, {n: np.array(v, np.int32) for n, v in numbers.items()})


@pytest.mark.parametrize(
  "what",
  [
    supply.Supply(),
    supply.Supply(unlabeled=True),
    supply.Supply(unlabeled=True, second="same", positions=True),
    supply.Supply(unlabeled=True, second="same", padding=True),
    supply.Supply(partner=PARTNER),
    EVERYTHING,
  ],
  ids=["labels", "both", "same", "padding", "partner", "everything"],
)
def test_batches_hold_what_is_described(open_batches, what):
  batches = open_batches(what)
  if what.is_requested:
    ask(batches, 0)
  assert shapes_of(next(batches)) == shapes_of(SETTINGS.batch_shapes(what))


def test_everything_is_described_by_its_name():
  assert shapes_of(SETTINGS.batch_shapes(EVERYTHING)) == {
    "image_l": ((2, 32, 32, 3), np.uint8),
    "label_l": ((2, 32, 32), np.uint8),
    "image_p": ((2, 32, 32, 3), np.uint8),
    "label_p": ((2, 32, 32), np.uint8),
    "image_u": ((4, 32, 32, 3), np.uint8),
    "padding_u": ((4, 32, 32), np.uint8),
    "image_u2": ((4, 32, 32, 3), np.uint8),
    "padding_u2": ((4, 32, 32), np.uint8),
    "position_u": ((4,), np.int32),
    "position_u2": ((4,), np.int32),
    "class_u2": ((4,), np.int32),
  }


def test_a_run_holds_what_its_most_demanding_phase_does():
  less = supply.Supply(unlabeled=True)
  assert supply.of_run([supply.Supply(), less]) is less
  assert supply.of_run([EVERYTHING, less]) is EVERYTHING


def test_further_arrays_change_nothing_of_the_others(open_batches):
  plain = next(open_batches(supply.Supply(unlabeled=True)))
  batches = open_batches(EVERYTHING)
  ask(batches, 0)
  batch = next(batches)
  for name, array in plain.items():
    np.testing.assert_array_equal(batch[name], array)


def test_padding_is_marked_where_an_image_shows_none(open_batches, dataset):
  what = supply.Supply(unlabeled=True, padding=True)
  batch = next(open_batches(what))
  ids = toy_dataset.find_ids(batch["image_u"], dataset.ids["train"])
  # Masks are no part of unlabeled images, but have their sizes.
  for name, padding in zip(ids, batch["padding_u"], strict=True):
    shown = toy_dataset.whole_label(name, 254) != 254
    np.testing.assert_array_equal(padding, ~shown)


def test_positions_are_those_in_the_unlabeled_list(
  open_batches, dataset, split
):
  what = supply.Supply(unlabeled=True, positions=True)
  batches = open_batches(what, start_step=3)
  batch = next(batches)
  records = split.unlabeled[batch["position_u"]]
  ids = toy_dataset.find_ids(batch["image_u"], dataset.ids["train"])
  assert ids == [dataset.ids["train"][record] for record in records]


def test_the_second_view_is_of_the_same_images_under_other_draws(
  open_batches, dataset
):
  whole = next(open_batches(supply.Supply(unlabeled=True, second="same")))
  np.testing.assert_array_equal(whole["image_u2"], whole["image_u"])
  settings = options.DataOptions(
    batch_size_l=2, batch_size_u=4, crop_size=(16, 16), num_workers=2
  )
  what = supply.Supply(unlabeled=True, second="same")
  drawn = next(open_batches(what, settings))
  assert (drawn["image_u2"] != drawn["image_u"]).any((1, 2, 3)).all()


class TestTrueMasks:
  """Of unlabeled images, where curves ask for them."""

  SETTINGS = dataclasses.replace(SETTINGS, unlabeled_masks=True, pad_label=0)

  def test_they_are_described(self, open_batches):
    for what in (supply.Supply(), EVERYTHING):
      batches = open_batches(what, self.SETTINGS)
      if what.is_requested:
        ask(batches, 0)
      shapes = shapes_of(self.SETTINGS.batch_shapes(what))
      assert shapes_of(next(batches)) == shapes
      for suffix in ("u", "u2"):
        assert (f"label_{suffix}" in shapes) == what.unlabeled

  def test_they_are_those_of_the_images_and_tell_nothing_of_padding(
    self, open_batches, dataset
  ):
    batches = open_batches(supply.Supply(unlabeled=True), self.SETTINGS)
    plain = open_batches(supply.Supply(unlabeled=True))
    unmasked = 0
    for _ in range(3):
      batch = next(batches)
      np.testing.assert_array_equal(batch["image_u"], next(plain)["image_u"])
      ids = toy_dataset.find_ids(batch["image_u"], dataset.ids["train"])
      for name, label in zip(ids, batch["label_u"], strict=True):
        has_mask = name.startswith("train")
        expected = toy_dataset.whole_label(name) if has_mask else 255
        np.testing.assert_array_equal(label, expected)
        unmasked += not has_mask
    assert 0 < unmasked < 12

  def test_second_views_have_masks_of_their_own_window(
    self, open_batches, dataset
  ):
    settings = dataclasses.replace(
      self.SETTINGS, crop_size=(16, 16), flip_prob=0.5
    )
    what = supply.Supply(unlabeled=True, second="same")
    batch = next(open_batches(what, settings))
    windows = {}
    for name in dataset.ids["train"]:
      has_mask = name.startswith("train")
      image, mask = voc_tree.draw_image(name), voc_tree.draw_mask(name)
      mask = mask if has_mask else np.full_like(mask, 255)
      for row, column in np.ndindex(*np.subtract(mask.shape, 15)):
        window = slice(row, row + 16), slice(column, column + 16)
        for step in (1, -1):
          pixels, label = (x[window][:, ::step] for x in (image, mask))
          windows[pixels.tobytes()] = label
    for suffix in ("u", "u2"):
      pairs = zip(batch[f"image_{suffix}"], batch[f"label_{suffix}"])
      for pixels, label in pairs:
        np.testing.assert_array_equal(label, windows[pixels.tobytes()])

  def test_a_dataset_without_any_is_refused(self, dataset, split):
    datasets.check_unlabeled_masks(dataset, split, "data.unlabeled_masks")
    is_masked = np.array(dataset.has_label["train"])[split.unlabeled]
    few = dataclasses.replace(split, unlabeled=split.unlabeled[~is_masked])
    with pytest.raises(ValueError) as error:
      datasets.check_unlabeled_masks(dataset, few, "data.unlabeled_masks")
    assert str(error.value) == (
      "data.unlabeled_masks=True: no unlabeled image of dataset 'toy', split"
      " 'few', has a mask; set it to False"
    )


class TestPartners:
  def read(self, open_batches, count):
    batches = open_batches(supply.Supply(partner=PARTNER))
    return [next(batches) for _ in range(count)]

  def test_half_of_the_images_have_one(self, open_batches):
    labels = np.concatenate(
      [batch["label_p"] for batch in self.read(open_batches, 60)]
    )
    share = labels.any((1, 2)).mean()
    assert 0.5 == pytest.approx(share, abs=0.14)  # 3 standard errors.

  def test_without_one_image_and_label_are_zero(self, open_batches):
    for batch in self.read(open_batches, 6):
      is_none = ~batch["label_p"].any((1, 2))
      assert not batch["image_p"][is_none].any()
      assert batch["image_p"][~is_none].any((1, 2, 3)).all()

  def test_each_of_the_list_is_as_likely(self):
    stream = streams.labeled_stream(np.arange(5) + 10, seed=1)
    partners = stream.partners_at(np.arange(4000), 0.25)
    values, counts = np.unique(partners, return_counts=True)
    assert values.tolist() == [-1, 10, 11, 12, 13, 14]
    # 4 standard errors.
    np.testing.assert_allclose(counts / 4000, [0.75] + [0.05] * 5, atol=0.03)

  def test_processes_share_them(self, open_batches):
    whole = self.read(open_batches, 1)[0]
    parts = [
      next(
        open_batches(
          supply.Supply(partner=PARTNER), process_index=i, process_count=2
        )
      )
      for i in (0, 1)
    ]
    for name, array in whole.items():
      joined = np.concatenate([part[name] for part in parts])
      np.testing.assert_array_equal(joined, array)


class TestRequested:
  WHAT = supply.Supply(
    unlabeled=True, positions=True, second="requested", requests=("class_u2",)
  )

  def test_images_are_those_asked_for(self, open_batches, dataset, split):
    batches = open_batches(self.WHAT, start_step=5)
    ask(batches, 5, (3, 3, 0, 7))
    batch = next(batches)
    ids = toy_dataset.find_ids(batch["image_u2"], dataset.ids["train"])
    expected = split.unlabeled[[3, 3, 0, 7]]
    assert ids == [dataset.ids["train"][record] for record in expected]
    assert batch["position_u2"].tolist() == [3, 3, 0, 7]
    assert batch["class_u2"].tolist() == [7, 8, 9, 10]

  def test_steps_can_be_asked_for_ahead(self, open_batches):
    batches = open_batches(self.WHAT)
    for step in range(3):
      ask(batches, step, (step, 5, 6, 7))
    assert [next(batches)["position_u2"][0] for _ in range(3)] == [0, 1, 2]

  def test_each_process_takes_its_part(self, open_batches):
    parts = []
    for index in (0, 1):
      batches = open_batches(self.WHAT, process_index=index, process_count=2)
      ask(batches, 0)
      parts.append(next(batches))
    batches = open_batches(self.WHAT)
    ask(batches, 0)
    for name, array in next(batches).items():
      joined = np.concatenate([part[name] for part in parts])
      np.testing.assert_array_equal(joined, array)

  def test_crops_follow_from_seed_step_and_image(self, open_batches):
    settings = options.DataOptions(
      batch_size_l=2, batch_size_u=4, crop_size=(16, 16), num_workers=2
    )
    crops = []
    for seed in (3, 3, 4):
      batches = open_batches(self.WHAT, settings, seed=seed)
      ask(batches, 0)
      crops.append(next(batches)["image_u2"])
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()
