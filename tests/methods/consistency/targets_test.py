"""Guesses, partners within groups, and losses worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.methods.consistency import targets

# Probabilities 0.8 and 0.2, in the first pixel for class 0.
SURE = np.log(4)
_loss = jax.jit(targets.consistency_loss, static_argnums=(2, 3))
_guess = jax.jit(targets.guess)


def make_guess(labels, confidence, is_image=None):
  labels = jnp.asarray(labels, jnp.int32)
  if is_image is None:
    is_image = jnp.ones(labels.shape, bool)
  return targets.Guess(labels, jnp.float32(confidence), jnp.asarray(is_image))


def test_of_two_likely_classes_the_lower_one_is_guessed():
  logits = jnp.zeros((1, 2, 2, 3)).at[..., 2].set(-100.0)
  found = _guess(logits, jnp.zeros((1, 4, 4), jnp.uint8).at[0, 0].set(1))
  np.testing.assert_array_equal(found.labels, 0)
  np.testing.assert_array_equal(found.confidence, 0.5)
  np.testing.assert_array_equal(
    found.is_image[0, :, 0], [False, True, True, True]
  )


def test_images_are_reversed_within_their_group():
  images = {"a": jnp.arange(6), "b": jnp.arange(12).reshape(6, 2)}
  whole = targets.reverse(images, 1)
  np.testing.assert_array_equal(whole["a"], [5, 4, 3, 2, 1, 0])
  halves = targets.reverse(images, 2)
  np.testing.assert_array_equal(halves["a"], [2, 1, 0, 5, 4, 3])
  np.testing.assert_array_equal(halves["b"][:, 0], [4, 2, 0, 10, 8, 6])


def test_the_loss_is_divided_by_all_pixels_of_the_images():
  logits = jnp.zeros((1, 1, 4, 2)).at[..., 0].set(SURE)
  found = make_guess(
    [[[0, 1, 1, 0]]],
    [[[0.9, 0.95, 0.5, 1.0]]],
    [[[True, True, True, False]]],
  )
  # Of three pixels two are confident: -log 0.8 and -log 0.2.
  expected = -(np.log(0.8) + np.log(0.2)) / 3
  loss = _loss(logits, found, 0.9, 1)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  # The threshold itself is confident enough; 1.01 is never reached.
  at_it = _loss(logits, found, 0.95, 1)
  np.testing.assert_allclose(at_it, -np.log(0.2) / 3, rtol=1e-6)
  assert _loss(logits, found, 1.01, 1) == 0


def test_groups_are_averaged_whatever_they_hold():
  logits = jnp.zeros((2, 1, 2, 2)).at[..., 0].set(SURE)
  found = make_guess(
    [[[0, 0]], [[1, 0]]],
    [[[1.0, 1.0]], [[1.0, 1.0]]],
    [[[True, True]], [[True, False]]],
  )
  one = _loss(logits, found, 0.5, 1)
  two = _loss(logits, found, 0.5, 2)
  sure, unsure = -np.log(0.8), -np.log(0.2)
  np.testing.assert_allclose(one, (2 * sure + unsure) / 3, rtol=1e-6)
  np.testing.assert_allclose(two, (sure + unsure) / 2, rtol=1e-6)


def test_padding_alone_gives_no_loss_and_no_nan():
  logits = jnp.zeros((1, 1, 2, 2))
  found = make_guess([[[0, 0]]], [[[1.0, 1.0]]], [[[False, False]]])
  loss, gradient = jax.value_and_grad(_loss)(logits, found, 0.5, 1)
  assert loss == 0
  np.testing.assert_array_equal(gradient, 0)
  assert targets.summarize(found, 0.5)["consistency/mask_ratio"] == 0


def test_metrics_leave_the_padding_out():
  found = make_guess(
    [[[0, 0, 0]]], [[[0.5, 1.0, 1.0]]], [[[True, True, False]]]
  )
  metrics = targets.summarize(found, 0.9)
  assert metrics["consistency/mask_ratio"] == 0.5
  assert metrics["consistency/confidence"] == 0.75
