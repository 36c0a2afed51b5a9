"""How right pseudo-labels are, where the truth is known; for curves alone.

The truth is taken out of a batch before a method sees it, and comes back when
the student has been judged.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.evaluation import metrics
from u2pl_jax.methods import method

_TRUTH = ("label_u", "label_u2")


@flax.struct.dataclass
class Share:
  """A share of pixels as two counts, each [] or [K], by class.

  Counts of the parts of a batch add up, and so do their means.

  Attributes:
    part: of the pixels.
    whole: all pixels.
  """

  part: jax.Array
  whole: jax.Array

  def divide(self) -> np.ndarray:
    """float64 in [0, 1], NaN where there are no pixels; on the host."""
    part, whole = np.float64(self.part), np.float64(self.whole)
    found = np.full(whole.shape, np.nan)
    return np.divide(part, whole, out=found, where=whole > 0)


def set_aside(batch: method.Batch) -> tuple[method.Batch, method.Truth]:
  """What a method may see of a batch, and the truth; {} where it is unknown."""
  seen = {name: array for name, array in batch.items() if name not in _TRUTH}
  truth = {
    name: batch[name].astype(jnp.int32) for name in _TRUTH if name in batch
  }
  return seen, truth


def measure(review: method.Review, num_classes: int) -> dict[str, Share]:
  """Metrics of a step; only pixels whose truth is known count.

  Args:
    review: of the step.
    num_classes: K.

  Returns:
    Of all views together: `taught/share`, of the pixels that are taught;
    `taught/accuracy`, of the taught ones that are right; `taught_share` [K], of
    the pixels of a class that are taught, as whatever; `taught_accuracy` [K],
    of those taught as a class that are of it. Where there are negatives,
    `negative_purity` [K], of those of a class that are not of it.
  """
  counts = [_count(*pair, num_classes) for pair in review.taught]
  known, taught, claimed, right = (sum(each) for each in zip(*counts))
  shares = {
    "taught/share": Share(jnp.sum(taught), jnp.sum(known)),
    "taught/accuracy": Share(jnp.sum(right), jnp.sum(taught)),
    "taught_share": Share(taught, known),
    "taught_accuracy": Share(right, claimed),
  }
  if review.negatives is not None:
    offered, truth = review.negatives
    counted = offered & (truth != IGNORE_LABEL)[..., None]
    is_other = truth[..., None] != jnp.arange(num_classes)
    shares["negative_purity"] = Share(_sum(counted & is_other), _sum(counted))
  return shares


def _count(
  labels: jax.Array, truth: jax.Array, num_classes: int
) -> Sequence[jax.Array]:
  """Pixels of each class, [K] int32: known, taught, taught as it, and right.

  Args:
    labels, truth: one view of `Review.taught`.
    num_classes: K.
  """
  # Pixels that are not taught count as one class more.
  taught_as = jnp.where(labels == IGNORE_LABEL, num_classes, labels)
  counts = metrics.confusion_matrix(truth, taught_as, num_classes + 1)
  known = counts[:num_classes].sum(1)
  counts = counts[:num_classes, :num_classes]
  return known, counts.sum(1), counts.sum(0), jnp.diagonal(counts)


def _sum(mask: jax.Array) -> jax.Array:
  """[..., K] bool to [K] int32."""
  return jnp.sum(mask, axis=tuple(range(mask.ndim - 1)), dtype=jnp.int32)
