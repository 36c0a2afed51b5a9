"""Boxes: their size, where they may lie, and pixels pasted into them."""

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.ops import boxes

SIZE = (40, 60)
_DRAW = jax.jit(
  lambda key: boxes.draw(
    key, 400, SIZE, probability=0.5, area=(0.02, 0.4), max_ratio=1 / 0.3
  )
)


def test_shape_cuts_off_fractions():
  # A quarter of 20 x 20 pixels, once square, once twice as high as wide.
  height, width = boxes.shape(
    jnp.float32([0.25, 0.25]), jnp.float32([1, 2]), (20, 20)
  )
  np.testing.assert_array_equal(height, [10, 14])
  np.testing.assert_array_equal(width, [10, 7])


def test_boxes_fit_and_half_of_the_images_have_one():
  drawn = np.asarray(_DRAW(jax.random.key(0)))
  top, left, below, right = drawn.T
  has_box = drawn.any(axis=1)
  assert abs(has_box.mean() - 0.5) < 0.1
  assert (drawn >= 0).all() and (below <= 40).all() and (right <= 60).all()
  area = ((below - top) * (right - left) / 2400)[has_box]
  assert area.max() <= 0.4 and area.max() > 0.3 and area.min() < 0.05
  ratio = (below - top)[has_box] / (right - left)[has_box]
  assert ratio.min() > 0.2 and ratio.max() < 4.5


def test_draws_depend_on_the_key_alone():
  first, again, other = (_DRAW(jax.random.key(i)) for i in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert (np.asarray(first) != other).any()


def test_paste_takes_the_pixels_of_the_box():
  mask = boxes.inside(jnp.int32([[1, 0, 3, 2], [0, 0, 0, 0]]), (3, 4))
  expected = np.zeros((2, 3, 4), bool)
  expected[0, 1:3, :2] = True
  np.testing.assert_array_equal(mask, expected)
  own, other = jnp.zeros((2, 3, 4, 3)), jnp.ones((2, 3, 4, 3))
  pasted = boxes.paste(mask, own, other)
  np.testing.assert_array_equal(pasted, expected[..., None].repeat(3, -1))
  pasted = boxes.paste(mask, own[..., 0], other[..., 0])
  np.testing.assert_array_equal(pasted, expected)
