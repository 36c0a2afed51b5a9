import jax
import numpy as np
import pytest
from scipy import ndimage

from u2pl_jax.ops import components

_label = jax.jit(components.label_components)
SIZE = (17, 23)


def make_mask(name):
  rng = np.random.default_rng(4)
  mask = np.zeros(SIZE, bool)
  if name == "full":
    mask[:] = True
  elif name == "noise":
    mask = rng.random(SIZE) < 0.4
  elif name == "snake":  # One component, whose far end is hundreds away.
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
  elif name == "staircase":  # Joined at corners alone.
    mask[np.arange(17), np.arange(17)] = True
  return mask


@pytest.mark.parametrize(
  "name", ["empty", "full", "noise", "snake", "staircase"]
)
def test_equals_scipy(name):
  mask = make_mask(name)
  expected, count = ndimage.label(mask, np.ones((3, 3)))
  found = np.asarray(_label(mask))
  assert np.all(found[~mask] == mask.size)
  firsts = np.unique(found[mask])
  assert len(firsts) == count
  areas = np.asarray(components.component_areas(found))
  assert areas.sum() == mask.sum()
  for number, first in enumerate(firsts, start=1):  # Both in raster order.
    inside = expected == number
    np.testing.assert_array_equal(found == first, inside)
    assert np.flatnonzero(inside)[0] == first
    assert areas[first] == inside.sum()
    rows, columns = ndimage.find_objects(expected)[number - 1]
    box = [rows.start, columns.start, rows.stop, columns.stop]
    assert components.bounding_box(inside).tolist() == box


def test_images_of_a_batch_do_not_mix():
  masks = np.stack([make_mask("snake"), make_mask("noise")])
  both = jax.jit(jax.vmap(components.label_components))(masks)
  for found, mask in zip(both, masks, strict=True):
    np.testing.assert_array_equal(found, _label(mask))
