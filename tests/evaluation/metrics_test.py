import jax
import numpy as np
import pytest

from u2pl_jax.evaluation import metrics


def confusion(labels, predictions, num_classes):
  count = jax.jit(metrics.confusion_matrix, static_argnums=2)
  return np.asarray(count(np.int32(labels), np.int32(predictions), num_classes))


def test_rows_are_labels_and_columns_predictions():
  found = confusion([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 2, 2], 3)
  np.testing.assert_array_equal(found, [[1, 1, 0], [0, 1, 0], [1, 0, 2]])


def test_ignored_pixels_are_not_counted():
  assert confusion([255, 255, 1], [0, 1, 1], 2).sum() == 1


def test_counts_equal_a_loop():
  rng = np.random.default_rng(0)
  labels = rng.choice([0, 1, 2, 3, 4, 255], (3, 17, 13))
  predictions = rng.integers(0, 5, labels.shape)
  expected = np.zeros((5, 5), int)
  for label, prediction in zip(labels.flat, predictions.flat, strict=True):
    if label != 255:
      expected[label, prediction] += 1
  np.testing.assert_array_equal(confusion(labels, predictions, 5), expected)


def test_scores_by_hand():
  scores = metrics.compute_scores([[3, 1], [2, 4]])
  np.testing.assert_allclose(scores.iou, [100 * 3 / 6, 100 * 4 / 7])
  assert scores.miou == pytest.approx(100 * (3 / 6 + 4 / 7) / 2)
  assert scores.pixel_accuracy == pytest.approx(70)
  assert scores.absent == ()


def test_a_class_that_occurs_nowhere_is_left_out_of_the_mean():
  scores = metrics.compute_scores([[3, 0, 0], [0, 0, 0], [0, 0, 1]])
  assert scores.miou == 100
  assert scores.absent == (1,)
  assert np.isnan(scores.iou[1])


def test_a_class_that_is_only_predicted_counts_as_zero():
  scores = metrics.compute_scores([[3, 1], [0, 0]])
  assert scores.iou[1] == 0
  assert scores.miou == pytest.approx(37.5)


def test_nothing_counted_gives_nan():
  scores = metrics.compute_scores(np.zeros((2, 2), int))
  assert np.isnan(scores.miou) and np.isnan(scores.pixel_accuracy)


def test_counts_beyond_float32_stay_exact():
  scores = metrics.compute_scores([[2**40 + 1, 1], [0, 2**40]])
  assert scores.iou[0] == 100 * (2**40 + 1) / (2**40 + 2)
