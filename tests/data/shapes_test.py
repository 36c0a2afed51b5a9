import numpy as np
import pytest

from u2pl_jax.data import shapes


def test_each_size_is_its_own_shape_while_there_are_few():
  sizes = [(4, 6), (6, 4), (4, 6)]
  assert shapes.choose_shapes(sizes, 2) == {(4, 6): (4, 6), (6, 4): (6, 4)}


def test_the_cheapest_two_are_merged():
  # (10, 10) to (10, 11) adds 10 pixels to one image; (5, 5) would add 75.
  sizes = [(5, 5), (10, 10), (10, 11), (10, 11)]
  chosen = shapes.choose_shapes(sizes, 2)
  assert chosen == {(5, 5): (5, 5), (10, 10): (10, 11), (10, 11): (10, 11)}


def test_frequent_sizes_are_kept():
  # Either one of the others joins the first: the rare one does.
  sizes = [(10, 10)] + [(9, 10)] * 5 + [(10, 8)]
  chosen = shapes.choose_shapes(sizes, 2)
  assert chosen[9, 10] == (9, 10) and chosen[10, 8] == (10, 10)


@pytest.mark.parametrize("max_shapes", [1, 3, 8])
def test_shapes_are_few_and_large_enough(max_shapes):
  rng = np.random.default_rng(0)
  sizes = [tuple(pair) for pair in rng.integers(20, 60, (100, 2)).tolist()]
  chosen = shapes.choose_shapes(sizes, max_shapes)
  assert chosen.keys() == set(sizes)
  assert len(set(chosen.values())) == max_shapes
  for (height, width), (shape_height, shape_width) in chosen.items():
    assert height <= shape_height and width <= shape_width


def test_thousands_of_sizes_are_first_rounded_up():
  rng = np.random.default_rng(0)
  sizes = [tuple(pair) for pair in rng.integers(100, 4000, (3000, 2)).tolist()]
  chosen = shapes.choose_shapes(sizes, 8)
  assert chosen.keys() == set(sizes) and len(set(chosen.values())) == 8
  assert all(np.all(np.array(chosen[size]) >= size) for size in sizes)


def test_no_shape_at_all_is_refused():
  with pytest.raises(ValueError, match="^max_shapes=0"):
    shapes.choose_shapes([(1, 1)], 0)


def test_a_plan_has_each_image_once_beside_others_of_its_shape():
  of_images = [(4, 4), (6, 4), (4, 4), (4, 4), (6, 4)]
  plan = shapes.plan_batches(of_images, 2)
  assert plan.shapes == ((4, 4), (4, 4), (6, 4))
  assert plan.images.tolist() == [[0, 2], [3, -1], [1, 4]]


def test_nothing_makes_an_empty_plan():
  plan = shapes.plan_batches([], 4)
  assert plan.shapes == () and plan.images.shape == (0, 4)
