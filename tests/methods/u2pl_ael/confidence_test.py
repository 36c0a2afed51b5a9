import numpy as np
import pytest

from u2pl_jax.methods.u2pl_ael import confidence

# Three pixels of class 0 in the first image, one in the second.
LABELS = np.array([[[0, 0, 0, 255]], [[0, 1, 1, 255]]])
PROBS = np.array([[[0.2, 0.4, 0.6, 0.9]], [[0.8, 0.3, 0.5, 0.9]]])
LOGITS = np.stack(
  [np.log(PROBS), np.log(1 - PROBS), np.full_like(PROBS, -99)], axis=-1
).astype(np.float32)


@pytest.mark.parametrize(
  "mean, value", [("pixel", [0.5, 0.6, 0]), ("image", [0.6, 0.6, 0])]
)
def test_means_over_pixels_and_over_images(mean, value):
  actual, seen = confidence.measure(LOGITS, LABELS, mean=mean)
  np.testing.assert_allclose(actual, value, rtol=1e-6)
  assert seen.tolist() == [True, True, False]


def test_an_absent_class_is_kept_or_decays():
  before, value = np.float32([0.5, 0.4]), np.float32([1.0, 0.0])
  seen = np.array([True, False])
  keep, zero = (
    confidence.update(before, value, seen, momentum=0.9, absent=absent)
    for absent in confidence.ABSENT
  )
  np.testing.assert_allclose(keep, [0.55, 0.4], rtol=1e-6)
  np.testing.assert_allclose(zero, [0.55, 0.36], rtol=1e-6)


def test_unsure_classes_are_drawn_more_often():
  probability = confidence.class_probability(
    np.float32([0.0, 0.75, 0.0]), power=0.5, is_allowed=np.array([1, 1, 0]) > 0
  )
  share = 1 / (1 + np.exp(-0.5))
  np.testing.assert_allclose(probability, [share, 1 - share, 0], rtol=1e-6)


def test_the_least_sure_class_is_always_kept():
  rate = confidence.keep_rate(np.float32([0.5, 0.75, 1.0]), 2.0)
  np.testing.assert_allclose(rate, [1, 0.25, 0], rtol=1e-6)
  # All sure alike: none is to be left out.
  np.testing.assert_array_equal(confidence.keep_rate(np.ones(3), 1.0), 1)


def test_unknown_words_are_refused():
  with pytest.raises(ValueError, match="ael.confidence_mean='row'"):
    confidence.measure(LOGITS, LABELS, mean="row")
  with pytest.raises(ValueError, match="ael.absent_class='drop'"):
    confidence.update(0.0, 0.0, True, momentum=0.9, absent="drop")
