"""What the student is measured by."""

import flax.struct
import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.methods import teacher
from u2pl_jax.methods.u2pl import contrast


@flax.struct.dataclass
class Side:
  """Of labeled or of mixed images.

  Attributes:
    labels: [B, H, W] int32, the teacher's; 255 where there is none.
    confidence: [B, H, W] float32, the teacher's largest probability.
    uniform: [B, H, W] float32 in [0, 1), decides which pixels count.
    weights: [B, H, W] float32, of the pixels; None before they are known.
  """

  labels: jax.Array
  confidence: jax.Array
  uniform: jax.Array
  weights: jax.Array | None = None


@flax.struct.dataclass
class Targets:
  """Of a step.

  Attributes:
    labels: [B_l, H, W] int32, of the labeled images after copy-paste.
    labeled, mixed: of the consistency.
    plan: of the contrastive loss; None without.
    boxes: [B_u, 4] int32, what the second images fill.
  """

  labels: jax.Array
  labeled: Side
  mixed: Side
  plan: contrast.Plan | None
  boxes: jax.Array


def make_side(
  logits: jax.Array, uniform: jax.Array, is_taught: jax.Array, threshold: float
) -> Side:
  """The teacher's labels and confidences.

  Args:
    logits: [B, H, W, K] float32, at full size.
    uniform: [B, H, W] float32 in [0, 1).
    is_taught: [B, H, W] bool, pixels that keep their label.
    threshold: so do only those of at least this confidence.
  """
  labels, confidence = teacher.pseudo_labels(logits)
  is_taught &= confidence >= threshold
  labels = jnp.where(is_taught, labels, IGNORE_LABEL)
  return Side(labels, confidence, uniform)
