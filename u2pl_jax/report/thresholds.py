"""Below which entropy a pixel keeps its pseudo-label."""

import dataclasses

import numpy as np

from u2pl_jax.report import runs

NUM_BINS = 4096  # Of the histogram of entropies.
TAG = "semi/drop_threshold"  # What a run logs it under.
# Of a run whose method has no such threshold: where U2PL's begins.
_DEFAULT_PERCENT = 80.0


@dataclasses.dataclass(frozen=True)
class Threshold:
  """An entropy threshold.

  Attributes:
    value: nats; pixels below it keep their pseudo-label.
    kept: share of the evaluated pixels that do, in [0, 1].
    source: where it comes from, in some words.
  """

  value: float
  kept: float
  source: str


def count_entropies(entropy: np.ndarray, num_classes: int) -> np.ndarray:
  """Histogram between 0 and the maximum, log K; sums over images add up.

  Args:
    entropy: float32, any shape, nats; NaN is not counted.
    num_classes: K.

  Returns:
    [NUM_BINS] int64.
  """
  highest = np.log(num_classes)
  values = np.clip(entropy, 0, highest)
  return np.histogram(values, NUM_BINS, (0, highest))[0]


def choose_threshold(run: runs.Run, counts: np.ndarray) -> Threshold:
  """The last threshold that a run logged, or a percentile of all pixels.

  Args:
    run: whose pseudo-labels these are.
    counts: sum of `count_entropies` over all images.

  Returns:
    The threshold of the unsupervised loss that the run logged last. A run that
    logged none, such as one on labeled images alone, gets a percentile of all
    evaluated pixels instead: `semi.drop_percent` of its config, or the 80th.

  Reference: paper eq. 4 and 5.
  """
  edges = np.linspace(0, np.log(run.network.num_classes), NUM_BINS + 1)
  below = np.append(0, np.cumsum(counts)) / max(counts.sum(), 1)
  if TAG in run.curves:
    curve = run.curves[TAG]
    value = float(curve.values[-1])
    source = f"the last that was logged, in step {curve.steps[-1]:,}"
  else:
    semi = run.config.get("semi", {})
    percent = semi.get("drop_percent", _DEFAULT_PERCENT)
    value = float(np.interp(percent / 100, below, edges))
    source = f"the {percent:g}th percentile of all evaluated pixels"
  return Threshold(value, float(np.interp(value, edges, below)), source)
