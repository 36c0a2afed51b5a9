"""Confusion matrices of integers, and the scores that follow from them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax import IGNORE_LABEL


def confusion_matrix(
  labels: jax.Array, predictions: jax.Array, num_classes: int
) -> jax.Array:
  """Counts pixels by label and prediction.

  Args:
    labels: int32, any shape, in [0, K) or 255, which is not counted.
    predictions: int32 in [0, K), the same shape.
    num_classes: K.

  Returns:
    [K, K] int32, rows are labels; exact up to 2^31 pixels. Add them up in
    int64 on the host.
  """
  cell = labels * num_classes + predictions
  outside = num_classes * num_classes
  cell = jnp.where(labels == IGNORE_LABEL, outside, cell).reshape(-1)
  counts = jnp.zeros(outside, jnp.int32).at[cell].add(1, mode="drop")
  return counts.reshape(num_classes, num_classes)


@dataclasses.dataclass(frozen=True)
class Scores:
  """Scores of one evaluation, in percent.

  Attributes:
    iou: [K] float64; NaN for a class that occurs neither in labels nor in
      predictions.
    miou: mean over the other classes.
    pixel_accuracy: share of labeled pixels that are right.
    absent: indices of the classes left out of the mean.
  """

  iou: np.ndarray
  miou: float
  pixel_accuracy: float
  absent: tuple[int, ...]


def compute_scores(confusion: np.ndarray) -> Scores:
  """Scores from intersections and unions summed over the whole set.

  # Differs from U2PL: a class that occurs nowhere is left out of the mean
  # instead of counting as 0.

  Args:
    confusion: [K, K] integers, rows are labels.

  Returns:
    `Scores`; all NaN where nothing was counted.
  """
  confusion = np.asarray(confusion, np.int64)
  intersection = np.diag(confusion)
  union = confusion.sum(0) + confusion.sum(1) - intersection
  total = confusion.sum()
  iou = np.full(len(confusion), np.nan)
  np.divide(100.0 * intersection, union, out=iou, where=union > 0)
  seen = union > 0
  return Scores(
    iou=iou,
    miou=float(iou[seen].mean()) if seen.any() else float("nan"),
    pixel_accuracy=(
      float(100.0 * intersection.sum() / total) if total else float("nan")
    ),
    absent=tuple(int(index) for index in np.flatnonzero(~seen)),
  )
