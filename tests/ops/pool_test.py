"""Max-pooling against numpy, and its gradient against XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from u2pl_jax.ops import pool


@pytest.mark.parametrize(
  "side,is_ceil,expected",
  [
    (40, True, 21),
    (41, True, 21),
    (7, True, 4),
    (2, True, 2),
    (40, False, 20),
    (41, False, 21),
  ],
)
def test_takes_the_windows_of_its_mode(side, is_ceil, expected):
  x = np.random.default_rng(side).normal(size=(1, side, 6, 2))
  y = jax.jit(pool.max_pool, static_argnums=1)(x.astype(np.float32), is_ceil)
  columns = 3 + is_ceil
  assert y.shape == (1, expected, columns, 2)
  oracle = [
    [
      x[0, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].max(
        (0, 1)
      )
      for j in range(columns)
    ]
    for i in range(expected)
  ]
  np.testing.assert_allclose(y[0], np.float32(oracle))


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (2, 3)])
@pytest.mark.parametrize(
  "dtype,is_ceil",
  [(jnp.float32, True), (jnp.bfloat16, True), (jnp.float32, False)],
)
def test_gradient_is_that_of_reduce_window(size, dtype, is_ceil):
  rng = np.random.default_rng(0)
  # Many equal values, as rectified maps have: the first one counts.
  x = jnp.asarray(rng.integers(0, 3, size=(2, *size, 3)), dtype)
  grad = rng.integers(-4, 5, size=pool.max_pool(x, is_ceil).shape)
  padding = [(1, 1 + (is_ceil and side % 2 == 0)) for side in size]

  def plain(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=padding)

  def gradient(function):
    return jax.vjp(function, x)[1](jnp.asarray(grad, dtype))[0]

  np.testing.assert_array_equal(
    jnp.float32(gradient(lambda x: pool.max_pool(x, is_ceil))),
    jnp.float32(gradient(plain)),
  )
