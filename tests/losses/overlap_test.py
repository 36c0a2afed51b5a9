"""Dice against hand-worked values and numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.losses import overlap

_dice = jax.jit(jax.value_and_grad(overlap.dice_loss))


def numpy_dice(logits, labels):
  probs = np.exp(logits - logits.max(-1, keepdims=True))
  probs = (probs / probs.sum(-1, keepdims=True))[labels != 255]
  is_class = np.eye(logits.shape[-1])[labels[labels != 255]]
  both = (probs * is_class).sum(0)
  either = (probs.sum(0) + is_class.sum(0)) / 2
  return np.mean(1 - (both + 1) / (either + 1))


def test_worked_by_hand_without_the_ignored_pixel():
  probs = [[[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]]
  loss, _ = _dice(jnp.log(jnp.array(probs)), jnp.array([[[0, 1, 255]]]))
  # Of both classes one pixel: overlaps 0.5 and 0.75, predicted 0.75 and 1.25.
  first, second = 1.5 / (1.75 / 2 + 1), 1.75 / (2.25 / 2 + 1)
  np.testing.assert_allclose(loss, 1 - (first + second) / 2, rtol=1e-6)


def test_equals_numpy_and_ignored_pixels_have_no_gradient():
  rng = np.random.default_rng(0)
  logits = 3 * rng.normal(size=(2, 9, 11, 4)).astype(np.float32)
  labels = rng.integers(0, 3, (2, 9, 11)).astype(np.int32)  # None of class 3.
  labels[rng.random(labels.shape) < 0.3] = 255
  loss, gradient = _dice(logits, labels)
  np.testing.assert_allclose(loss, numpy_dice(logits, labels), rtol=1e-5)
  has_gradient = np.any(np.asarray(gradient) != 0, axis=-1)
  np.testing.assert_array_equal(has_gradient, labels != 255)


def test_all_ignored_is_zero_with_zero_gradient():
  logits = np.random.default_rng(0).normal(size=(1, 4, 5, 3))
  loss, gradient = _dice(
    logits.astype(np.float32), np.full((1, 4, 5), 255, np.int32)
  )
  assert loss == 0
  np.testing.assert_array_equal(gradient, np.zeros_like(logits))
