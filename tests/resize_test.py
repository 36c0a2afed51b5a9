"""Resizing against arrays recorded from PyTorch and hand-worked values."""

import jax
import numpy as np
import pytest

from tests import golden_weights
from u2pl_jax import resize

GOLDEN, _ = golden_weights.load("interp.npz")
bilinear = jax.jit(
  resize.resize_bilinear, static_argnums=1, static_argnames="align_corners"
)
nearest = jax.jit(resize.resize_nearest, static_argnums=1)


@pytest.mark.parametrize(
  "key", [*GOLDEN["bilinear_ac_keys"], *GOLDEN["bilinear_noac_keys"]]
)
def test_bilinear_equals_pytorch(key):
  x, expected = GOLDEN[f"{key}/in"], GOLDEN[f"{key}/out"]
  align_corners = key.startswith("bilinear_ac/")
  actual = bilinear(
    golden_weights.to_nhwc(x), expected.shape[2:], align_corners=align_corners
  )
  np.testing.assert_allclose(
    actual, golden_weights.to_nhwc(expected), rtol=0, atol=1e-6
  )


@pytest.mark.parametrize("in_size,out_size", GOLDEN["nearest_pairs"].tolist())
def test_nearest_picks_the_pixels_pytorch_picks(in_size, out_size):
  x = np.arange(in_size, dtype=np.int32)[None, :, None]
  expected = GOLDEN[f"nearest_index/{in_size}_to_{out_size}"]
  rows = nearest(x, (out_size, 1))
  np.testing.assert_array_equal(rows[0, :, 0], expected)
  columns = nearest(x.transpose(0, 2, 1), (1, out_size))
  np.testing.assert_array_equal(columns[0, 0], expected)


@pytest.mark.parametrize(
  "key", sorted({k[:-3] for k in GOLDEN if k.endswith("/in") and "mask" in k})
)
def test_nearest_mask_equals_pytorch_and_keeps_dtype(key):
  x, expected = GOLDEN[f"{key}/in"][:, 0], GOLDEN[f"{key}/out"][:, 0]
  actual = nearest(x, expected.shape[1:])
  assert actual.dtype == np.uint8
  np.testing.assert_array_equal(actual, expected)
  with_channels = nearest(np.stack([x, x], -1), expected.shape[1:])
  np.testing.assert_array_equal(with_channels[..., 1], expected)


def test_bilinear_by_hand():
  x = np.array([[0.0, 2.0], [4.0, 6.0]], np.float32)[None, :, :, None]
  aligned = bilinear(x, (3, 3))[0, :, :, 0]
  np.testing.assert_allclose(aligned, [[0, 1, 2], [2, 3, 4], [4, 5, 6]])
  # Outer edges on one another: source columns -1/4 -> 0, 1/4, 3/4, 5/4 -> 1.
  free = bilinear(x, (2, 4), align_corners=False)[0, :, :, 0]
  np.testing.assert_allclose(free, [[0, 0.5, 1.5, 2], [4, 4.5, 5.5, 6]])


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
