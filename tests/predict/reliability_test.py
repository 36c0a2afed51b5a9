"""Unreliable pixels of a prediction become 255, by entropy or probability."""

import math

import numpy as np
import pytest

from u2pl_jax.predict import reliability, results

# Of two classes: 3:1 and 1:1 in favor of the second, and certain of the first.
LOGITS = np.log(np.float32([[1, 3], [1, 1], [1, 1e-30]]))
ENTROPY = 2 * math.log(2) - 0.75 * math.log(3)  # Of 3:1, 0.562 nats.


@pytest.mark.parametrize(
  "rule, expected",
  [
    (reliability.Rule(), [1, 0, 0]),
    (reliability.Rule(max_entropy=0.6), [1, 255, 0]),
    (reliability.Rule(max_entropy=ENTROPY - 1e-4), [255, 255, 0]),
    (reliability.Rule(max_entropy=ENTROPY + 1e-4), [1, 255, 0]),
    (reliability.Rule(min_confidence=0.5), [1, 0, 0]),
    (reliability.Rule(min_confidence=0.74), [1, 255, 0]),
    (reliability.Rule(min_confidence=0.76), [255, 255, 0]),
    (reliability.Rule(max_entropy=0.6, min_confidence=0.8), [255, 255, 0]),
  ],
)
def test_a_pixel_must_pass_both_bounds(rule, expected):
  found = reliability.label(LOGITS, rule)
  assert found.dtype == np.uint8 and found.tolist() == expected


def test_nothing_is_reliable_of_a_network_that_has_diverged():
  logits = np.full((2, 3), np.nan, np.float32)
  assert reliability.label(logits, reliability.Rule()).tolist() == [255, 255]


def test_results_hold_255_and_the_entropy_of_all_pixels():
  compute = results.make_compute(("entropy",), 2, reliability.Rule(0.6))
  found = compute(LOGITS)
  assert found["masks"].tolist() == [1, 255, 0]
  assert found["entropy"].tolist() == [
    round(255 * ENTROPY / math.log(2)), 255, 0
  ]  # fmt: skip
