import numpy as np
from PIL import Image

from u2pl_jax.evaluation import visualize

PALETTE = ((10, 20, 30), (40, 50, 60))


def test_colorize_uses_the_palette_and_white_for_ignored():
  found = visualize.colorize(np.array([[0, 1, 255]]), PALETTE)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found[0], [*PALETTE, (255, 255, 255)])


def test_overlays_mix_colors_and_outline_classes_in_white():
  image = np.full((4, 6, 3), 100, np.uint8)
  labels = np.array([[0, 0, 0, 1, 1, 1]] * 4)
  found = visualize.overlay(image, labels, PALETTE)
  assert found.dtype == np.uint8
  mixed = 50 + np.array(PALETTE) // 2
  np.testing.assert_array_equal(
    found[:, :2], np.broadcast_to(mixed[0], (4, 2, 3))
  )
  np.testing.assert_array_equal(found[:, 2:4], 255)
  np.testing.assert_array_equal(
    found[:, 4:], np.broadcast_to(mixed[1], (4, 2, 3))
  )
  turned = visualize.overlay(image.swapaxes(0, 1), labels.T, PALETTE)
  np.testing.assert_array_equal(turned, found.swapaxes(0, 1))


def test_overlays_show_the_photograph_where_a_class_is_black():
  image = np.full((1, 4, 3), 100, np.uint8)
  found = visualize.overlay(
    image, np.array([[0, 0, 1, 1]]), ((0,) * 3, PALETTE[1])
  )
  np.testing.assert_array_equal(found[0, :2], image[0, :2])
  np.testing.assert_array_equal(found[0, 2], (255, 255, 255))


def test_overlays_of_a_pixel_and_of_large_images():
  dot = np.full((1, 1, 3), 200, np.uint8)
  found = visualize.overlay(dot, np.zeros((1, 1), int), PALETTE)
  np.testing.assert_array_equal(found, [[[105, 110, 115]]])
  labels = np.repeat([[0, 1]], 1500, axis=1)
  found = visualize.overlay(np.zeros((1, 3000, 3), np.uint8), labels, PALETTE)
  assert (found == 255).all(-1).sum() == 2 * 4  # Four times as wide.


def test_strips_are_drawn_as_the_whole_is(monkeypatch):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (70, 2100, 3), np.uint8)
  labels = rng.integers(0, 2, (70, 2100), np.uint8).repeat(3, axis=0)[:70]
  whole = visualize.overlay(image, labels, PALETTE)
  for pixels in (1, 2100 * 2, 2100 * 16, 2**22):
    monkeypatch.setattr(visualize, "_PIXELS_AT_ONCE", pixels)
    picture = visualize.draw_overlay(image, labels, PALETTE)
    np.testing.assert_array_equal(np.asarray(picture), whole)


def test_entropy_is_black_when_sure_and_white_when_uniform_or_nan():
  found = visualize.entropy_image(np.array([[0.0, np.log(2), np.nan]]), 2)
  np.testing.assert_array_equal(found[0], [[0] * 3, [255] * 3, [255] * 3])


def test_taught_pixels_are_green_and_others_red():
  taught = np.arange(10).reshape(1, 2, 5) < 8
  found = visualize.partition_image(taught)
  np.testing.assert_array_equal(found[..., 1] > found[..., 0], taught)
  np.testing.assert_array_equal(found[..., 1] < found[..., 0], ~taught)


def test_rows_hold_five_pictures_side_by_side():
  images = np.full((2, 3, 4, 3), 7, np.uint8)
  labels = np.array([[[0, 1, 255, 0]] * 3] * 2)
  rows = visualize.summary_rows(
    images,
    labels,
    np.zeros_like(labels),
    np.zeros(labels.shape),
    palette=PALETTE,
    taught=np.ones(labels.shape, bool),
  )
  assert rows.shape == (2, 3, 5 * 4 + 4 * 4, 3)
  np.testing.assert_array_equal(rows[:, :, :4], images)
  np.testing.assert_array_equal(rows[0, 0, 8:10], PALETTE)
  # The prediction is not drawn where there is no label.
  np.testing.assert_array_equal(rows[0, 0, 18], (255, 255, 255))


def test_rows_without_taught_pixels_hold_four_pictures():
  labels = np.zeros((2, 3, 4), np.uint8)
  images = np.zeros((2, 3, 4, 3), np.uint8)
  rows = visualize.summary_rows(
    images, labels, labels, np.zeros(labels.shape), palette=PALETTE
  )
  assert rows.shape == (2, 3, 4 * 4 + 3 * 4, 3)


def test_pictures_are_written_as_their_names_say(tmp_path):
  labels = np.uint8([[0, 1], [1, 0]])
  picture = visualize.draw_classes(labels, PALETTE)
  visualize.write_picture(tmp_path / "new/a.png", picture)
  with Image.open(tmp_path / "new/a.png") as read:
    assert (read.format, read.mode) == ("PNG", "P")
    np.testing.assert_array_equal(read, labels)
    expected = np.array(PALETTE)[labels]
    np.testing.assert_array_equal(read.convert("RGB"), expected)
  visualize.write_picture(tmp_path / "a.jpg", picture.convert("RGB"))
  with Image.open(tmp_path / "a.jpg") as read:
    assert read.format == "JPEG"


def test_ids_with_colors_are_white_where_they_are_255():
  labels = np.array([[0, 1, 255]], np.uint8)
  found = visualize.draw_classes(labels, PALETTE)
  np.testing.assert_array_equal(found, labels)
  np.testing.assert_array_equal(
    found.convert("RGB"), visualize.colorize(labels, PALETTE)
  )
