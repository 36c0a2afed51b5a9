"""Gradients of a large batch, from parts of it that fit into memory."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
# compute(running, part of the batch, keys) ->
#   running, (gradients, metrics)
Compute = Callable[
  [PyTree, PyTree, Mapping[str, jax.Array]],
  tuple[PyTree, tuple[PyTree, PyTree]],
]


def split_batch(batch: PyTree, num_parts: int) -> PyTree:
  """Part i takes the images i, i + num_parts, i + 2 num_parts, ...

  So every device keeps an equal share of each part, and no image moves.

  Args:
    batch: of arrays [B, ...]; B is a multiple of devices times `num_parts`.
    num_parts: at least 1.

  Returns:
    Arrays [num_parts, B / num_parts, ...].
  """

  def split(x):
    return jnp.moveaxis(x.reshape(-1, num_parts, *x.shape[1:]), 1, 0)

  return jax.tree.map(split, batch)


def first_part(
  batch: PyTree, keys: Mapping[str, jax.Array], num_parts: int
) -> tuple[PyTree, dict[str, jax.Array]]:
  """The first part of a batch with its keys, as `accumulate` computes it.

  Args:
    batch, keys, num_parts: as there.
  """
  if num_parts == 1:
    return batch, dict(keys)
  part = jax.tree.map(lambda x: x[0], split_batch(batch, num_parts))
  return part, {n: jax.random.fold_in(k, 0) for n, k in keys.items()}


def accumulate(
  compute: Compute,
  running: PyTree,
  batch: PyTree,
  keys: Mapping[str, jax.Array],
  num_parts: int,
) -> tuple[PyTree, PyTree, PyTree]:
  """Goes through the parts of a batch, one after the other.

  Whatever looks at a whole batch looks at a part then: batch statistics,
  percentiles, means of losses, the number of anchors and of new keys.

  Args:
    compute: called with what the part before left in `running`.
    running: statistics and banks.
    batch: see `split_batch`.
    keys: named random keys; each part has its own, derived from these, unless
      there is but one.
    num_parts: static, at least 1.

  Returns:
    `running` after the last part, the means of the gradients and metrics.
  """
  if num_parts == 1:
    running, (gradients, metrics) = compute(running, batch, keys)
    return running, gradients, metrics

  def body(carry, part_and_index):
    running, total = carry
    part, index = part_and_index
    part_keys = {n: jax.random.fold_in(k, index) for n, k in keys.items()}
    running, results = compute(running, part, part_keys)
    return (running, jax.tree.map(jnp.add, total, results)), None

  parts = split_batch(batch, num_parts)
  first = jax.tree.map(lambda x: x[0], parts)
  _, results = jax.eval_shape(compute, running, first, keys)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)
  (running, total), _ = jax.lax.scan(
    body, (running, zeros), (parts, jnp.arange(num_parts))
  )
  gradients, metrics = jax.tree.map(lambda x: x / num_parts, total)
  return running, gradients, metrics
