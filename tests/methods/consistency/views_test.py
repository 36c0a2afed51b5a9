"""Draws of a step: functions of its keys, as likely as they should be."""

import jax
import numpy as np
import pytest

from u2pl_jax.methods.consistency import views

OPTIONS = views.ViewOptions()
_draw = jax.jit(views.draw_colors, static_argnums=(1, 2))


def test_colors_are_drawn_within_their_ranges():
  draws = _draw(jax.random.key(0), 2000, OPTIONS)
  for values, share in (
    (draws.is_jittered, 0.8),
    (draws.is_gray, 0.2),
    (draws.sigma > 0, 0.5),
  ):
    # Four standard errors.
    assert abs(np.mean(values) - share) < 0.045
  for values, low, high in (
    (draws.factors, 0.5, 1.5),
    (draws.hue, -0.25, 0.25),
    (draws.sigma[draws.sigma > 0], 0.1, 2.0),
  ):
    width = high - low
    assert low <= values.min() < low + 0.02 * width
    assert high - 0.02 * width < values.max() <= high
  np.testing.assert_array_equal(
    np.sort(draws.order, axis=1), [[0, 1, 2, 3]] * 2000
  )
  # Each operation is as often the first one.
  counts = np.bincount(draws.order[:, 0], minlength=4) / 2000
  np.testing.assert_allclose(counts, 0.25, atol=0.04)


def _make_draw(**changes):
  options = views.ViewOptions(**changes)
  return jax.jit(views.make_draw(options, 2, lambda key: (None,)))


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 2, 17, 19, 3), np.uint8)
  return {"image_u": images[0], "image_u2": images[1]}


def test_a_step_draws_two_views_of_both_images(batch):
  draw = _make_draw()
  drawn = draw(batch, {"augment": jax.random.key(1)})
  again = draw(batch, {"augment": jax.random.key(1)})
  jax.tree.map(np.testing.assert_array_equal, drawn, again)
  assert len(drawn.strong) == len(drawn.partners) == len(drawn.boxes) == 2
  assert drawn.scales == (None,)
  for images in (*drawn.strong, *drawn.partners):
    assert images.shape == (2, 17, 19, 3)
    np.testing.assert_array_equal(images, np.round(images))
  assert (np.asarray(drawn.strong[0]) != drawn.strong[1]).any()


def test_with_nothing_drawn_the_weak_views_are_left(batch):
  draw = _make_draw(jitter_prob=0.0, gray_prob=0.0, blur_prob=0.0, box_prob=0.0)
  del batch["image_u2"]
  drawn = draw(batch, {"augment": jax.random.key(1)})
  assert drawn.partners is None
  for images, boxes in zip(drawn.strong, drawn.boxes, strict=True):
    np.testing.assert_array_equal(images, batch["image_u"])
    np.testing.assert_array_equal(boxes, 0)
