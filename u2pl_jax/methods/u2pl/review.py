"""What was taught of unlabeled images, beside the truth."""

import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import contrast
from u2pl_jax.ops import resize


def compare(
  labels: jax.Array,
  is_taught: jax.Array,
  truth: jax.Array,
  plan: contrast.Plan | None,
  *,
  num_labeled: int,
  halves: contrast.Halves,
) -> method.Review:
  """Of one view, and of the keys that it gave.

  Args:
    labels: [B_u, H, W] int32, pseudo-labels.
    is_taught: [B_u, H, W] bool, which of them the student is to agree with.
    truth: [B_u, H, W] int32, mixed as the images were.
    plan: of the contrastive loss; None without.
    num_labeled: B_l.
    halves: joined labeled and unlabeled images.
  """
  negatives = None
  if plan is not None:
    _, offered = halves.part(plan.offered, num_labeled)
    negatives = offered, resize.resize_nearest(truth, offered.shape[1:3])
  taught = jnp.where(is_taught, labels, IGNORE_LABEL)
  return method.Review(((taught, truth),), negatives)
