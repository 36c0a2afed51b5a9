"""Which pixels of a prediction are sure enough to be a label."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.evaluation import outputs


@dataclasses.dataclass(frozen=True)
class Rule:
  """A pixel is reliable if it passes both bounds; the defaults let all pass.

  Attributes:
    max_entropy: nats; reliable pixels are below it, as those are that keep
      their pseudo-label in training (paper eq. 4 and 5).
    min_confidence: in [0, 1]; the class of a reliable pixel is at least as
      probable.
  """

  max_entropy: float = math.inf
  min_confidence: float = 0.0


def label(logits: jax.Array, rule: Rule) -> jax.Array:
  """The most probable class, or 255 where that is not reliable.

  Args:
    logits: float32 [..., K].
    rule: which pixels are; none of a network that has diverged is.

  Returns:
    uint8 [...].
  """
  found = outputs.compute(logits, ("labels", "entropy", "probability"))
  is_reliable = (found["entropy"] < rule.max_entropy) & (
    found["probability"] >= rule.min_confidence
  )
  return jnp.where(is_reliable, found["labels"], IGNORE_LABEL).astype(jnp.uint8)
