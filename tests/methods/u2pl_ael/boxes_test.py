import functools

import jax
import numpy as np

from u2pl_jax.methods.u2pl_ael import boxes
from u2pl_jax.ops import boxes as box_ops

SIZE = (20, 30)


@functools.cache
def drawn(class_id, min_share):
  labels = np.zeros(SIZE, np.int32)
  labels[2:6, 3:8] = 1  # 20 pixels.
  labels[10:14, 20:26] = 1  # 24 pixels.
  choose = jax.jit(
    jax.vmap(boxes.choose_box, in_axes=(0, None, None, None)),
    static_argnums=3,
  )
  keys = jax.random.split(jax.random.key(0), 60)
  return np.asarray(choose(keys, labels, class_id, min_share))


def test_boxes_lie_around_components_that_are_large_enough():
  found = {tuple(box) for box in drawn(1, 19 / 600).tolist()}
  assert found == {(2, 3, 6, 8), (10, 20, 14, 26)}
  # More than 20 pixels: not those of the first one.
  found = {tuple(box) for box in drawn(1, 20 / 600).tolist()}
  assert found == {(10, 20, 14, 26)}


def test_without_a_component_a_box_has_half_the_area():
  for class_id, share in ((1, 0.1), (2, 0.0)):
    top, left, bottom, right = drawn(class_id, share).T
    assert len(np.unique(drawn(class_id, share), axis=0)) > 50
    area = (bottom - top) * (right - left) / 600
    np.testing.assert_allclose(area, 0.5, atol=0.04)
    assert top.min() >= 0 and left.min() >= 0
    assert bottom.max() <= 20 and right.max() <= 30
    assert (bottom - top).min() >= 10 and (right - left).min() >= 15


def test_a_class_on_every_pixel_has_no_component():
  _, is_large = boxes.large_components(np.ones(SIZE, np.int32), 1, 0.005)
  assert not is_large.any()


def test_the_second_image_fills_the_box():
  box = np.array([[1, 2, 3, 5]])
  inside = box_ops.inside(box, SIZE)
  first, second = np.zeros((1, *SIZE, 1)), np.ones((1, *SIZE, 1))
  mixed = box_ops.paste(inside, first, second)
  assert mixed[0, 1:3, 2:5].all() and mixed.sum() == 6


def test_a_drawn_box_has_a_frame_and_the_second_image_in_it():
  first = np.full((*SIZE, 3), 10, np.uint8)
  picture = boxes.draw(first, first + 10, np.array([2, 3, 12, 13]))
  assert (picture[7, 2:7, 0] == [10, 255, 0, 20, 20]).all()
  assert (first == 10).all()
