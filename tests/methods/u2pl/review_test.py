"""Negatives beside the truth at the size of the representation."""

import types

import jax.numpy as jnp
import numpy as np

from u2pl_jax.methods.u2pl import review
from u2pl_jax.ops import interleave


def test_only_what_is_taught_and_only_unlabeled_negatives():
  labels = jnp.arange(2 * 4 * 4).reshape(2, 4, 4) % 3
  truth = jnp.arange(2 * 4 * 4).reshape(2, 4, 4)
  is_taught = labels != 1
  # Labeled and unlabeled images alternate.
  offered = jnp.arange(4)[:, None, None, None] * jnp.ones((4, 2, 2, 3), int)
  found = review.compare(
    labels,
    is_taught,
    truth,
    types.SimpleNamespace(offered=offered),
    num_labeled=2,
    halves=interleave,
  )
  ((taught, beside),) = found.taught
  np.testing.assert_array_equal(taught, np.where(labels == 1, 255, labels))
  np.testing.assert_array_equal(beside, truth)
  negatives, small = found.negatives
  assert negatives[:, 0, 0, 0].tolist() == [1, 3]
  # By nearest neighbor, the first of two on each axis.
  np.testing.assert_array_equal(small, truth[:, ::2, ::2])


def test_without_the_contrastive_loss_there_are_none():
  labels = jnp.zeros((1, 2, 2), int)
  found = review.compare(
    labels, labels == 0, labels, None, num_labeled=1, halves=interleave
  )
  assert found.negatives is None
