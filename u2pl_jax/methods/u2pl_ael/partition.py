"""Which pixels of mixed images are taught, are anchors, or are negatives.

Reference: algorithm sections 5.5 and 5.6; U2PL eq. 5 to 7.
"""

import jax
import jax.numpy as jnp

from u2pl_jax.methods.u2pl import partition
from u2pl_jax.ops import percentile

DROPPED = ("unsure", "sure", "none")
THRESHOLDS = ("scheduled", "fixed")
SCOPES = ("image", "batch")


def split(
  entropy: jax.Array,
  now: jax.Array,
  start: float,
  *,
  dropped: str,
  thresholds: str,
  scope: str,
) -> partition.Partition:
  """Splits the pixels of mixed images by the entropy of the prediction.

  Args:
    entropy: [B, H, W] float32, nats.
    now: a_t, [] in [0, 100], the share of pixels on the dropped side.
    start: a_0.
    dropped: "unsure", entropies above percentile 100 - a_t lose their
      pseudo-label; "sure", those below percentile a_t, as in the published
      code; "none".
    thresholds: "scheduled", reliable is at most percentile 100 - a_t and
      unreliable is above it, dropped or not; "fixed", reliable is at most
      percentile a_0 and unreliable at least percentile 100 - a_0, of the pixels
      that are not dropped.
    scope: percentiles are those of each "image" or of the "batch".

  Returns:
    A `Partition`; its thresholds are means over the images.

  Raises:
    ValueError: a rule is unknown.
  """
  for name, value, known in (
    ("dropped", dropped, DROPPED),
    ("thresholds", thresholds, THRESHOLDS),
    ("percentiles_by", scope, SCOPES),
  ):
    if value not in known:
      raise ValueError(f"ael.{name}={value!r}: expected one of {known}")
  low, high, first, last = _percentiles(
    entropy, jnp.stack([now, 100.0 - now, start, 100.0 - start]), scope
  )
  kept = jnp.ones(entropy.shape, bool)
  if dropped == "unsure":
    kept = entropy <= high
  elif dropped == "sure":
    kept = entropy >= low
  if thresholds == "scheduled":
    at_most, at_least = high, high
    reliable, unreliable = entropy <= high, entropy > high
  else:
    at_most, at_least = first, last
    reliable, unreliable = kept & (entropy <= first), kept & (entropy >= last)
  return partition.Partition(
    kept=kept,
    reliable=reliable & kept,
    unreliable=unreliable,
    drop_threshold=jnp.mean(low if dropped == "sure" else high),
    reliable_threshold=jnp.mean(at_most),
    unreliable_threshold=jnp.mean(at_least),
  )


def _percentiles(
  entropy: jax.Array, percents: jax.Array, scope: str
) -> jax.Array:
  """[R, B or 1, 1, 1] float32."""

  def of(values):
    return percentile.masked_percentiles(
      values, jnp.ones(values.shape, bool), percents
    )

  if scope == "batch":
    return of(entropy)[:, None, None, None]
  return jax.vmap(of)(entropy).T[..., None, None]
