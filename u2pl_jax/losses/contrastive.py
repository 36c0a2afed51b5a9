"""Class means, InfoNCE between anchors and keys, and its mean over classes.

P stands for the pixels, on as many axes as the caller likes, labeled and
unlabeled ones together. Nothing here knows the memory bank.

Reference for all: paper section 3.3; `u2pl/utils/loss_helper.py`
(compute_contra_memobank_loss).
"""

import jax
import jax.numpy as jnp

DIVISORS = ("contributing", "present")


def class_means(features: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean representation of each class's pixels (z_c+, paper eq. 12).

  Args:
    features: [P, D] float32.
    mask: [P, K] bool.

  Returns:
    [K, D] float32; zeros for a class without pixels.
  """
  weights = mask.reshape(-1, mask.shape[-1]).astype(features.dtype)
  features = features.reshape(-1, features.shape[-1])
  sums = jnp.einsum(
    "pk,pd->kd", weights, features, precision=jax.lax.Precision.HIGHEST
  )
  return sums / jnp.maximum(jnp.sum(weights, axis=0), 1.0)[:, None]


def _inverse_norm(vectors: jax.Array) -> jax.Array:
  """[..., D] to [...]; a zero vector has a finite one, and gradient."""
  squared = jnp.sum(jnp.square(vectors), axis=-1)
  return jax.lax.rsqrt(jnp.maximum(squared, 1e-16))


def _normalize(vectors: jax.Array) -> jax.Array:
  """Unit vectors; a zero vector stays zero."""
  return vectors * _inverse_norm(vectors)[..., None]


def info_nce(
  anchors: jax.Array,
  positives: jax.Array,
  keys: jax.Array,
  rows: jax.Array,
  *,
  temperature: float,
) -> jax.Array:
  """InfoNCE on cosine similarity, one positive against N negatives.

  Of all classes the negatives would be [K, A, N, D], hundreds of megabytes that
  are written and read several times. So one class is done after the other, and
  its gradient at once, while its negatives are in the cache: six to ten times
  as fast on a CPU.

  Args:
    anchors: [K, A, D] float32; they alone have a gradient.
    positives: [K, D] float32, one for each class.
    keys: [R, D] float32 or bfloat16, among them the negatives.
    rows: [K, A, N] int32 in [0, R), each anchor's negatives.
    temperature: tau > 0.

  Returns:
    [K] float32: mean over the anchors of
    -log(e^(s+/tau) / (e^(s+/tau) + sum_n e^(s_n/tau))).

  Reference: paper eq. 8.
  """
  fixed = jax.lax.stop_gradient(anchors)

  def of_class(_, drawn):
    anchors, positive, rows = drawn
    negatives = jnp.take(keys, rows, axis=0, mode="clip").astype(jnp.float32)
    return None, jax.value_and_grad(_class_info_nce)(
      anchors, positive, negatives, temperature
    )

  _, (losses, gradients) = jax.lax.scan(
    of_class, None, jax.lax.stop_gradient((anchors, positives, rows))
  )
  # Adds 0, with the gradient that is known already.
  return losses + jnp.sum((anchors - fixed) * gradients, axis=(1, 2))


def _class_info_nce(
  anchors: jax.Array,
  positive: jax.Array,
  negatives: jax.Array,
  temperature: float,
) -> jax.Array:
  """Of one class: [A, D], [D] and [A, N, D] float32 to []."""
  anchors, positive = _normalize(anchors), _normalize(positive)
  precision = jax.lax.Precision.HIGHEST
  others = jnp.einsum("ad,and->an", anchors, negatives, precision=precision)
  others *= _inverse_norm(negatives)
  own = jnp.einsum("ad,d->a", anchors, positive, precision=precision)
  logits = jnp.concatenate([own[:, None], others], axis=-1)
  log_probs = jax.nn.log_softmax(logits / temperature, axis=-1)
  return -jnp.mean(log_probs[:, 0])


def mean_over_classes(
  per_class: jax.Array,
  contributes: jax.Array,
  present: jax.Array,
  *,
  divide_by: str,
) -> jax.Array:
  """The loss of the step from the losses of the classes.

  Args:
    per_class: [K] float32.
    contributes: [K] bool, classes with an anchor and a non-empty bank.
    present: [K] bool, classes with a reliable pixel. With at most one of
      them the loss is 0.
    divide_by: "contributing" (paper) or "present" (published code).

  Returns:
    [] float32.

  Raises:
    ValueError: `divide_by` is neither of the two.
  """
  if divide_by not in DIVISORS:
    raise ValueError(
      f"contrast.divide_by={divide_by!r}: expected one of {DIVISORS}"
    )
  total = jnp.sum(jnp.where(contributes, per_class, 0.0))
  counted = contributes if divide_by == "contributing" else present
  loss = total / jnp.maximum(jnp.sum(counted), 1)
  return jnp.where(jnp.sum(present) > 1, loss, 0.0)
