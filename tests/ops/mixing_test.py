"""Strong augmentation: boxes, class masks, partners, probability."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.ops import mixing

NUM_CLASSES = 8

_augment = jax.jit(
  mixing.strong_augment, static_argnames=("mode", "num_classes")
)


def _run(key, images, labels, mode, probability=1.0):
  outputs = _augment(
    key,
    images,
    labels,
    mode=mode,
    probability=probability,
    num_classes=NUM_CLASSES,
  )
  return tuple(map(np.asarray, outputs))


def _batch(seed=0, batch=4, size=(12, 17)):
  """Images whose pixels tell where they come from."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, NUM_CLASSES, (batch, *size)).astype(np.int32)
  images = np.zeros((batch, *size, 3), np.float32)
  images[..., 0] = 1 + np.arange(batch)[:, None, None]
  images[..., 1] = np.arange(size[0])[:, None]
  images[..., 2] = np.arange(size[1])
  return images, labels


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw_boxes(keys, height, width):
  return jax.vmap(lambda k: mixing.keep_outside_box(k, height, width))(keys)


@jax.jit
def _draw_class_masks(labels):
  """[4000, H, W] bool."""
  keys = jax.random.split(jax.random.key(3), 4000)
  return jax.vmap(
    lambda key: mixing.keep_half_the_classes(key, labels, NUM_CLASSES)
  )(keys)


def _boxes(seed, height, width, draws=4000):
  """(top, left, height, width) of the boxes; every mask must be a rectangle."""
  keys = jax.random.split(jax.random.key(seed), draws)
  inside = ~np.asarray(_draw_boxes(keys, height, width))
  rows, columns = inside.any(axis=2), inside.any(axis=1)
  box_heights, box_widths = rows.sum(axis=1), columns.sum(axis=1)
  tops, lefts = rows.argmax(axis=1), columns.argmax(axis=1)
  solid = (
    (np.arange(height) >= tops[:, None])
    & (np.arange(height) < (tops + box_heights)[:, None])
  )[:, :, None] & (
    (np.arange(width) >= lefts[:, None])
    & (np.arange(width) < (lefts + box_widths)[:, None])
  )[:, None, :]
  np.testing.assert_array_equal(inside, solid)
  return tops, lefts, box_heights, box_widths


def _assert_uniform(values, low, high):
  """Counts of low..high inclusive within 5 standard errors."""
  hits = np.bincount(values - low, minlength=high - low + 1)
  assert values.min() >= low and hits.size == high - low + 1
  mean = values.size / hits.size
  assert np.abs(hits - mean).max() < 5 * np.sqrt(mean)


class TestBox:
  @pytest.mark.parametrize("height, width", [(12, 17), (65, 97), (40, 8)])
  def test_has_the_published_sizes_and_places(self, height, width):
    tops, lefts, box_heights, box_widths = _boxes(0, height, width)
    _assert_uniform(box_widths, int(width / 2 + 1), width - 1)
    expected = np.round(height * width / 2 / box_widths)
    np.testing.assert_array_equal(box_heights, expected)
    # Both ends of the free space are reached, none is passed.
    assert tops.min() == lefts.min() == 0
    assert np.max(tops + box_heights) == height
    assert np.max(lefts + box_widths) == width
    commonest = np.bincount(box_widths).argmax()
    same_width = box_widths == commonest
    _assert_uniform(lefts[same_width], 0, width - commonest)
    _assert_uniform(tops[same_width], 0, height - box_heights[same_width][0])

  def test_rows_and_columns_are_placed_independently(self):
    tops, lefts, box_heights, box_widths = _boxes(2, 30, 30)
    # Squares have as much free space below as beside: one random number used
    # for both would show.
    square = box_widths == box_heights
    assert square.sum() > 100
    correlation = np.corrcoef(tops[square], lefts[square])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(square.sum())


class TestClassMask:
  def _kept_classes(self, present):
    """[4000, present] bool; a class is kept wholly or not at all."""
    labels = np.resize(np.asarray(present, np.int32), (4, 5))
    masks = _draw_class_masks(labels)
    kept = []
    for c in present:
      of_class = np.asarray(masks)[:, labels == c]
      np.testing.assert_array_equal(of_class.all(axis=1), of_class.any(axis=1))
      kept.append(of_class.all(axis=1))
    return np.stack(kept, axis=1)

  @pytest.mark.parametrize(
    "present", [[5], [0, 7], [1, 2, 6], [0, 3, 4, 7], [7, 0, 1, 2, 3, 4, 6]]
  )
  def test_keeps_half_of_the_classes_present_uniformly(self, present):
    kept = self._kept_classes(present)
    half = len(present) // 2
    np.testing.assert_array_equal(kept.sum(axis=1), half)
    share = half / len(present)
    error = np.sqrt(share * (1 - share) / len(kept))
    assert np.all(np.abs(kept.mean(axis=0) - share) <= 5 * error)

  def test_keeps_every_pair_of_four_classes_equally_often(self):
    kept = self._kept_classes([0, 2, 3, 5])
    pairs = [np.flatnonzero(row) for row in np.unique(kept, axis=0)]
    expected = itertools.combinations(range(4), 2)
    assert sorted(map(tuple, pairs)) == list(expected)
    hits = np.unique(kept, axis=0, return_counts=True)[1]
    assert np.abs(hits - 4000 / 6).max() < 5 * np.sqrt(4000 / 6)

  def test_ignored_pixels_are_no_class_and_never_kept(self):
    labels = np.full((4, 5), 255, np.int32)
    labels[0, :3] = [0, 1, 7]
    masks = np.asarray(_draw_class_masks(labels))
    assert not np.any(masks[:, labels == 255])
    # Three classes are present, not four: always exactly one stays.
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), np.ones(4000))

  def test_all_ignored_keeps_nothing(self):
    labels = np.full((4, 5), 255, np.int32)
    assert not np.any(_draw_class_masks(labels))


class TestStrongAugment:
  @pytest.mark.parametrize("mode", ["cutmix", "classmix"])
  def test_partner_is_the_next_image_and_the_last_ones_the_first(self, mode):
    images, labels = _batch()
    mixed = _run(jax.random.key(0), images, labels, mode)
    for i in range(4):
      partner = (i + 1) % 4
      from_partner = mixed[0][i, ..., 0] == images[partner, ..., 0]
      own = mixed[0][i, ..., 0] == images[i, ..., 0]
      np.testing.assert_array_equal(own, ~from_partner)
      assert own.any() and from_partner.any()
      np.testing.assert_array_equal(mixed[2][i], own)
      for inputs, output in zip((images, labels), mixed[:2], strict=True):
        np.testing.assert_array_equal(output[i][own], inputs[i][own])
        np.testing.assert_array_equal(
          output[i][from_partner], inputs[partner][from_partner]
        )

  def test_cutmix_pastes_a_box_and_classmix_whole_classes(self):
    images, labels = _batch()
    boxed = _run(jax.random.key(1), images, labels, "cutmix")
    own = boxed[0][..., 0] == images[..., 0]
    for mask in ~own:
      rows, columns = np.nonzero(mask)
      assert mask[rows.min() : rows.max() + 1].sum() == mask.sum()
      area = np.ptp(rows) + 1, np.ptp(columns) + 1
      assert mask.sum() == np.prod(area)
    by_class = _run(jax.random.key(1), images, labels, "classmix")
    own = by_class[0][..., 0] == images[..., 0]
    for mask, label in zip(own, labels, strict=True):
      kept = set(np.unique(label[mask]))
      assert len(kept) == NUM_CLASSES // 2
      assert not kept & set(np.unique(label[~mask]))

  def test_classmix_of_one_class_is_the_whole_partner(self):
    images, labels = _batch()
    labels[0] = 3
    mixed = _run(jax.random.key(0), images, labels, "classmix")
    np.testing.assert_array_equal(mixed[0][0], images[1])
    np.testing.assert_array_equal(mixed[1][0], labels[1])

  def test_cutout_blanks_image_and_label_in_the_box(self):
    images, labels = _batch()
    cut = _run(jax.random.key(0), images, labels, "cutout")
    box = cut[1] == 255
    assert np.all(np.abs(box.mean(axis=(1, 2)) - 0.5) < 0.06)
    np.testing.assert_array_equal(cut[0], np.where(box[..., None], 0, images))
    np.testing.assert_array_equal(cut[1], np.where(box, 255, labels))
    np.testing.assert_array_equal(cut[2], ~box)

  @pytest.mark.parametrize("mode", ["cutout", "cutmix", "classmix"])
  def test_every_image_gets_its_own_mask(self, mode):
    images, labels = _batch()
    labels[:] = labels[0]
    output = _run(jax.random.key(0), images, labels, mode)[0]
    own = output[..., 0] == images[..., 0]
    assert len(np.unique(own.reshape(4, -1), axis=0)) > 1

  @pytest.mark.parametrize("mode", ["cutmix", "classmix"])
  def test_ignored_pixels_of_the_partner_come_along(self, mode):
    images, labels = _batch()
    labels[1] = 255
    mixed = _run(jax.random.key(0), images, labels, mode)
    from_partner = mixed[0][0, ..., 0] == images[1, 0, 0, 0]
    expected = np.where(from_partner, 255, labels[0])
    np.testing.assert_array_equal(mixed[1][0], expected)

  def test_a_single_image_is_its_own_partner(self):
    inputs = _batch(batch=1)
    keep = np.random.default_rng(0).random(inputs[1].shape) < 0.5
    outputs = mixing.mix(jnp.asarray(keep), *map(jnp.asarray, inputs))
    for output, own in zip(outputs, inputs, strict=True):
      np.testing.assert_array_equal(output, own)

  @pytest.mark.parametrize("mode", ["cutout", "cutmix", "classmix"])
  def test_applies_to_the_whole_batch_with_the_probability(self, mode):
    inputs = _batch()
    keys = jax.random.split(jax.random.key(0), 150)
    for probability in (0.0, 0.5, 0.9, 1.0):
      drawn = [_run(key, *inputs, mode, probability)[0] for key in keys]
      changed = np.any(np.stack(drawn) != inputs[0], axis=(2, 3, 4))
      np.testing.assert_array_equal(changed.any(axis=1), changed.all(axis=1))
      error = np.sqrt(probability * (1 - probability) / 150)
      assert abs(changed.mean() - probability) <= 4 * error

  def test_mode_none_changes_nothing(self):
    inputs = _batch()
    *outputs, keeps_own = _run(jax.random.key(0), *inputs, "none")
    assert keeps_own.all()
    for output, own in zip(outputs, inputs, strict=True):
      np.testing.assert_array_equal(output, own)

  @pytest.mark.parametrize("mode", ["mixup", "CutMix", ""])
  def test_unknown_mode_is_refused_with_the_known_ones(self, mode):
    with pytest.raises(ValueError, match=f"'{mode}'.*cutout.*classmix"):
      _run(jax.random.key(0), *_batch(), mode)
