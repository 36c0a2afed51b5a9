"""The loss on pseudo-labels that survive the entropy test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.losses import pixelwise
from u2pl_jax.methods.u2pl import partition
from u2pl_jax.ops import percentile

_entropy = jax.jit(percentile.compute_entropy)
_split = jax.jit(partition.partition_by_entropy, static_argnames="reliable")
_loss = jax.jit(jax.value_and_grad(pixelwise.unsupervised_loss))


def test_worked_by_hand():
  # Of four pixels two are kept, one of the others is ignored: mean of the
  # two times 4 / 2.
  probs = jnp.asarray([[[0.5, 0.5], [0.25, 0.75]], [[0.9, 0.1], [0.4, 0.6]]])
  labels = jnp.asarray([[[0, 0], [1, 255]]])
  kept = jnp.asarray([[[True, True], [False, False]]])
  loss, gradient = _loss(jnp.log(probs)[None], labels, kept)
  np.testing.assert_allclose(loss, 1.5 * np.log(2) * 2, rtol=1e-6)
  expected = [[[[-0.5, 0.5], [-0.75, 0.75]], [[0, 0], [0, 0]]]]
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("label", [255, 2])
def test_nothing_kept_is_zero_with_zero_gradient(label):
  logits = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
  loss, gradient = _loss(
    logits.astype(np.float32),
    np.full((2, 5, 7), label, np.int32),
    np.zeros((2, 5, 7), bool),
  )
  assert loss == 0
  np.testing.assert_array_equal(gradient, np.zeros((2, 5, 7, 3)))


def test_a_uniform_teacher_gives_zero_not_nan():
  labels = jnp.zeros((1, 4, 4), jnp.int32)
  split = _split(
    _entropy(jnp.zeros((1, 4, 4, 3))),
    labels != 255,
    drop_percent=80.0,
    unreliable_percent=20.0,
    reliable="below_unreliable",
  )
  loss, gradient = _loss(jnp.ones((1, 4, 4, 3)), labels, split.kept)
  assert loss == 0
  np.testing.assert_array_equal(gradient, np.zeros((1, 4, 4, 3)))


@pytest.mark.parametrize("seed", range(4))
def test_equals_numpy(seed):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(2, 8, 9, 5)).astype(np.float32)
  labels = rng.integers(0, 5, (2, 8, 9)).astype(np.int32)
  labels[rng.random(labels.shape) < 0.3] = 255
  kept = (rng.random(labels.shape) < 0.6) & (labels != 255)
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  losses = -log_probs[kept, labels[kept]]
  expected = losses.mean() * kept.size / kept.sum()
  loss, gradient = _loss(logits, labels, kept)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  has_gradient = np.any(np.asarray(gradient) != 0, axis=-1)
  np.testing.assert_array_equal(has_gradient, kept)
