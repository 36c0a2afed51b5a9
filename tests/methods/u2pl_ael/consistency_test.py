import numpy as np
import pytest

from u2pl_jax.methods.u2pl_ael import consistency

LOGITS = np.zeros((2, 1, 2, 2), np.float32)  # Each pixel's loss is log 2.
LOGITS[1, 0, 0] = [3.0, 0.0]
LABELS = np.array([[[0, 255]], [[1, 0]]])
WEIGHTS = np.float32([[[0.5, 0.25]], [[1.0, 0.0]]])
FIRST, SECOND = np.log(2), np.log(1 + np.exp(3.0))


@pytest.mark.parametrize(
  "by, with_ignored, expected",
  [
    ("batch", True, (0.5 * FIRST + SECOND) / 1.75),
    ("batch", False, (0.5 * FIRST + SECOND) / 1.5),
    ("image", True, (0.5 * FIRST / 0.75 + SECOND) / 2),
    ("image", False, (FIRST + SECOND) / 2),
  ],
)
def test_weighted_means(by, with_ignored, expected):
  loss = consistency.compute_loss(
    LOGITS, LABELS, WEIGHTS, by=by, with_ignored=with_ignored
  )
  assert loss == pytest.approx(expected, rel=1e-6)


def test_pixels_of_sure_classes_are_left_out_by_chance():
  logits = np.float32([[[[1, 0], [0, 1], [0, 1]]]])
  sureness = np.full((1, 1, 3), 0.5, np.float32)
  uniform = np.float32([[[0.01, 0.7, 0.8]]])
  weights = consistency.pixel_weights(
    logits, sureness, uniform, np.float32([1.0, 0.25]), gamma=2.0
  )
  np.testing.assert_allclose(weights, [[[0.25, 0, 0.25]]])
