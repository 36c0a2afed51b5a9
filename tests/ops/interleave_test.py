"""Labeled and unlabeled images in one batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.ops import interleave
from u2pl_jax.runtime import sharding

SIZES = [(1, 1), (4, 4), (8, 16), (16, 8), (6, 4), (3, 5)]


def make_halves(num_labeled, num_unlabeled):
  """Images of 2 pixels; unlabeled ones are negative."""
  labeled, unlabeled = (
    np.arange(2 * n, dtype=np.float32).reshape(n, 2) + 1
    for n in (num_labeled, num_unlabeled)
  )
  return labeled, -unlabeled


def test_join_interleaves():
  labeled, unlabeled = np.array([1, 2, 3, 4]), np.array([-1, -2])
  joined = interleave.join(labeled, unlabeled)
  np.testing.assert_array_equal(joined, [1, 2, -1, 3, 4, -2])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_part_undoes_join(sizes):
  expected = make_halves(*sizes)
  actual = interleave.part(interleave.join(*expected), sizes[0])
  for left, right in zip(actual, expected, strict=True):
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("sizes", [(8, 8), (8, 16), (24, 8)], ids=str)
def test_no_image_changes_its_device(sizes):
  mesh = sharding.create_mesh()
  split = sharding.split_batch(mesh)

  @jax.jit
  def join_and_part(labeled, unlabeled):
    joined = interleave.join(labeled, unlabeled)
    return joined, interleave.part(joined, sizes[0])

  inputs = jax.device_put(make_halves(*sizes), split)
  text = join_and_part.lower(*inputs).compile().as_text()
  moves = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
  assert not any(move in text for move in moves)
  joined, parts = join_and_part(*inputs)
  assert joined.sharding.is_equivalent_to(split, joined.ndim)
  for left, right in zip(parts, inputs, strict=True):
    np.testing.assert_array_equal(left, right)


def test_gradients_go_back_to_their_half():
  def total(labeled, unlabeled):
    left, right = interleave.part(interleave.join(labeled, unlabeled), 2)
    return jnp.sum(left) + 3 * jnp.sum(right)

  gradients = jax.grad(total, argnums=(0, 1))(jnp.ones(2), jnp.ones(4))
  np.testing.assert_array_equal(gradients[0], [1, 1])
  np.testing.assert_array_equal(gradients[1], [3, 3, 3, 3])
