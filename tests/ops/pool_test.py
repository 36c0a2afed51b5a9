"""Max-pooling against numpy, and its gradient against XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from u2pl_jax.ops import pool


@pytest.mark.parametrize("side,expected", [(40, 21), (41, 21), (7, 4), (2, 2)])
def test_takes_ceil_mode_windows(side, expected):
  x = np.random.default_rng(side).normal(size=(1, side, 6, 2))
  y = jax.jit(pool.max_pool_ceil)(x.astype(np.float32))
  assert y.shape == (1, expected, 4, 2)
  oracle = [
    [
      x[0, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].max(
        (0, 1)
      )
      for j in range(4)
    ]
    for i in range(expected)
  ]
  np.testing.assert_allclose(y[0], np.float32(oracle))


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (2, 3)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradient_is_that_of_reduce_window(size, dtype):
  rng = np.random.default_rng(0)
  # Many equal values, as rectified maps have: the first one counts.
  x = jnp.asarray(rng.integers(0, 3, size=(2, *size, 3)), dtype)
  grad = rng.integers(-4, 5, size=pool.max_pool_ceil(x).shape)
  padding = [(1, 1 + (side % 2 == 0)) for side in size]

  def plain(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=padding)

  def gradient(function):
    return jax.vjp(function, x)[1](jnp.asarray(grad, dtype))[0]

  np.testing.assert_array_equal(
    jnp.float32(gradient(pool.max_pool_ceil)), jnp.float32(gradient(plain))
  )
