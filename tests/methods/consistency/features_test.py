"""Scales of features: how they are drawn."""

import jax
import numpy as np
import pytest

from tests.methods.consistency import settings_test
from u2pl_jax.methods.consistency import features
from u2pl_jax.ops import interleave

KEY = jax.random.key(3)


def test_perturbation_keeps_half_of_the_channels_and_doubles_them():
  parts = settings_test.make_parts(batch_size_l=3, batch_size_u=5)
  first, unread, last = features.make_perturbation(parts, (40, None, 60))(KEY)
  assert unread is None
  assert (first.shape, last.shape) == ((8, 40), (8, 60))
  assert set(np.unique(first)) == {0, 2}
  # Of 800 draws, within four standard errors.
  mean = np.concatenate([np.ravel(first), np.ravel(last)]).mean()
  assert abs(mean - 1) < 0.15
  assert (np.asarray(first) != np.asarray(last)[:, :40]).any()


@pytest.mark.parametrize("groups", [1, 2])
def test_complementary_views_share_out_the_channels(groups):
  parts = settings_test.make_parts(batch_size_u=6)
  draw = jax.jit(
    features.make_complementary(
      parts, (50, None, 50, 30), untouched=0.5, groups=groups
    )
  )
  scales = draw(KEY)
  assert scales[1] is None
  np.testing.assert_array_equal(scales[0], scales[2])
  assert scales[3].shape == (12, 30)
  first, second = map(np.asarray, interleave.part(scales[0], 6))
  np.testing.assert_array_equal(first + second, 2)
  untouched = (first == 1).all(axis=1)
  assert (first[~untouched] != 1).all()
  # The same images, whatever the width.
  others = np.asarray(interleave.part(scales[3], 6)[0])
  np.testing.assert_array_equal(untouched, (others == 1).all(axis=1))
  # Half of each group, rounded down: of 6 and of 3 images.
  counts = untouched.reshape(groups, -1).sum(axis=1)
  np.testing.assert_array_equal(counts, [3] if groups == 1 else [1, 1])


def test_parts_of_a_batch_have_scales_of_their_own_size():
  parts = settings_test.make_parts(batch_size_u=8, batch_size_l=8, steps=2)
  draw = features.make_complementary(parts, (4,), untouched=1.0, groups=1)
  np.testing.assert_array_equal(draw(KEY)[0], np.ones((8, 4)))
  assert features.make_perturbation(parts, (4,))(KEY)[0].shape == (8, 4)
