import numpy as np

from u2pl_jax import visualize

PALETTE = ((10, 20, 30), (40, 50, 60))


def test_colorize_uses_the_palette_and_white_for_ignored():
  found = visualize.colorize(np.array([[0, 1, 255]]), PALETTE)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found[0], [*PALETTE, (255, 255, 255)])


def test_entropy_is_black_when_sure_and_white_when_uniform_or_nan():
  found = visualize.entropy_image(np.array([[0.0, np.log(2), np.nan]]), 2)
  np.testing.assert_array_equal(found[0], [[0] * 3, [255] * 3, [255] * 3])


def test_partition_marks_the_surest_share_green():
  entropy = np.arange(10.0).reshape(1, 2, 5)
  found = visualize.partition_image(entropy, 80.0)
  green = found[..., 1] > found[..., 0]
  np.testing.assert_array_equal(green, entropy < np.percentile(entropy, 80))
  assert green.sum() == 8


def test_rows_hold_five_pictures_side_by_side():
  images = np.full((2, 3, 4, 3), 7, np.uint8)
  labels = np.array([[[0, 1, 255, 0]] * 3] * 2)
  rows = visualize.summary_rows(
    images,
    labels,
    np.zeros_like(labels),
    np.zeros(labels.shape),
    palette=PALETTE,
    drop_percent=80.0,
  )
  assert rows.shape == (2, 3, 5 * 4 + 4 * 4, 3)
  np.testing.assert_array_equal(rows[:, :, :4], images)
  np.testing.assert_array_equal(rows[0, 0, 8:10], PALETTE)
  # The prediction is not drawn where there is no label.
  np.testing.assert_array_equal(rows[0, 0, 18], (255, 255, 255))
