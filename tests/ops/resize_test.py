"""Resizing by hand, its gradient, refused shapes."""

import functools

import jax
import numpy as np
import pytest

from u2pl_jax.ops import resize

bilinear = jax.jit(
  resize.resize_bilinear, static_argnums=1, static_argnames="align_corners"
)
nearest = jax.jit(resize.resize_nearest, static_argnums=1)


def test_bilinear_by_hand():
  x = np.array([[0.0, 2.0], [4.0, 6.0]], np.float32)[None, :, :, None]
  aligned = bilinear(x, (3, 3))[0, :, :, 0]
  np.testing.assert_allclose(aligned, [[0, 1, 2], [2, 3, 4], [4, 5, 6]])
  # Outer edges on one another: source columns -1/4 -> 0, 1/4, 3/4, 5/4 -> 1.
  free = bilinear(x, (2, 4), align_corners=False)[0, :, :, 0]
  np.testing.assert_allclose(free, [[0, 0.5, 1.5, 2], [4, 4.5, 5.5, 6]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_nearest_by_hand_keeps_the_dtype(dtype):
  x = np.array([[0, 1, 0], [1, 0, 1]], dtype)[None]
  # Source rows floor(i 2/4), columns floor(i 3/2).
  expected = np.array([[0, 1], [0, 1], [1, 0], [1, 0]], dtype)
  actual = nearest(x, (4, 2))
  assert actual.dtype == dtype
  np.testing.assert_array_equal(actual[0], expected)
  with_channels = nearest(np.stack([x, ~x], -1), (4, 2))
  np.testing.assert_array_equal(with_channels[0, ..., 1], ~expected)


def test_nearest_rounds_the_ratio_to_float32_as_pytorch_does():
  # Exactly, row 15 has source 15 * 375 / 45 = 125; in float32 a little less.
  rows = nearest(np.arange(375)[None, :, None], (45, 1))[0, :, 0]
  exact = np.arange(45) * 375 // 45
  assert rows[15] == 124
  np.testing.assert_array_equal(np.flatnonzero(rows != exact), [15, 27, 30])


@pytest.mark.parametrize("align_corners", [True, False])
def test_bilinear_keeps_constants_and_the_gradient_adds_up(align_corners):
  def total(x):
    y = resize.resize_bilinear(x, (11, 8), align_corners=align_corners)
    return y.sum(), y

  x = np.full((2, 5, 3, 2), 1.5, np.float32)
  gradient, y = jax.jit(jax.grad(total, has_aux=True))(x)
  np.testing.assert_allclose(y, np.full((2, 11, 8, 2), 1.5), rtol=1e-6)
  # Every output pixel hands out weights that add up to one.
  np.testing.assert_allclose(
    gradient.sum((1, 2)), np.full((2, 2), 88.0), rtol=1e-6
  )


def test_bilinear_of_equal_size_is_the_identity_in_float32():
  x = np.linspace(-3, 3, 24, dtype=np.float32).reshape(1, 4, 3, 2)
  np.testing.assert_array_equal(bilinear(x, (4, 3)), x)
  assert bilinear(x.astype(jax.numpy.bfloat16), (4, 3)).dtype == np.float32


@pytest.mark.parametrize("axis", [1, 2])
def test_the_product_on_gpus_is_the_same(axis):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 9, 9, 3)).astype(np.float32)
  matrix = rng.normal(size=(14, 9)).astype(np.float32)
  results = []
  for multiply in (resize.multiply_at_once, resize.multiply_in_place):
    product = functools.partial(multiply, matrix, axis=axis)
    y, pull_back = jax.vjp(product, x)
    results.append((y, *pull_back(y)))
  for left, right in zip(*results, strict=True):
    assert left.shape == right.shape
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_each_platform_gets_its_own_product():
  x = jax.ShapeDtypeStruct((2, 9, 9, 3), np.float32)
  traced = bilinear.trace(x, (14, 14))
  for platform, transposes in (("cpu", True), ("tpu", True), ("cuda", False)):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.dot_general") == 2
    assert ("stablehlo.transpose" in text) == transposes


@pytest.mark.parametrize(
  "function,shape,size,match",
  [
    (resize.resize_bilinear, (4, 4, 1), (2, 2), r"\[B, h, w, C\]"),
    (resize.resize_bilinear, (1, 4, 4, 1), (2, 0), "positive"),
    (resize.resize_nearest, (4, 4), (2, 2), r"\[B, h, w"),
    (resize.resize_nearest, (1, 4, 4), (2,), "two positive"),
  ],
)
def test_wrong_shape_or_size_is_refused(function, shape, size, match):
  with pytest.raises(ValueError, match=match):
    function(np.zeros(shape, np.float32), size)
