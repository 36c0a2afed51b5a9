"""The teacher, a moving average of the student."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

PyTree = Any


def ema_update(teacher: PyTree, student: PyTree, decay: jax.Array) -> PyTree:
  """decay * teacher + (1 - decay) * student, leaf by leaf.

  Integers, such as counters, are cut off.
  """
  moved = optax.incremental_update(student, teacher, 1.0 - decay)
  return jax.tree.map(lambda new, old: new.astype(old.dtype), moved, teacher)


def pseudo_labels(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The labels that a prediction gives, and how sure it is of each.

  Args:
    logits: [..., K] float32.

  Returns:
    int32 [...], of equally likely classes the lowest one; and float32 [...],
    the probability of that class.
  """
  labels = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  return labels, jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)


def ema_decay(nth: jax.Array, max_decay: float) -> jax.Array:
  """d = min(1 - 1/n, max_decay): an average of all students so far at first.

  Args:
    nth: n, [] int32, 1 after the first update that the teacher follows, which
      makes it a copy of the student.
    max_decay: largest decay, in [0, 1]; 0.99 in the published code of U2PL.

  Returns:
    [] float32 in [0, max_decay].

  Reference: algorithm step 9; `train_semi.py` (train).
  """
  return jnp.minimum(1.0 - 1.0 / nth, max_decay)
