"""Colors as networks see them."""

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.ops import normalize


def test_worked_by_hand():
  images = np.array([[0, 0, 0], [255, 255, 255], [124, 116, 104]], np.uint8)
  expected = [
    [-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375],
    [131.325 / 58.395, 138.72 / 57.12, 151.47 / 57.375],
    [0.325 / 58.395, -0.28 / 57.12, 0.47 / 57.375],
  ]
  normalized = jax.jit(normalize.normalize)(images)
  assert normalized.dtype == jnp.float32
  np.testing.assert_allclose(normalized, expected, rtol=1e-5, atol=1e-6)
