"""Convolutions in their own forms against XLA's plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.ops import conv


def plain(images, kernel, rate, stride=(1, 1)):
  reach = [step * (side // 2) for step, side in zip(rate, kernel.shape)]
  return jax.lax.conv_general_dilated(
    images,
    kernel,
    stride,
    [(pixels, pixels) for pixels in reach],
    rhs_dilation=rate,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision="highest",
  )


def value_and_gradients(function, images, kernel, weights):
  def loss(images, kernel):
    outputs = function(images, kernel)
    return jnp.sum(outputs * weights), outputs

  gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
  return jax.tree.leaves(jax.jit(gradient)(images, kernel))


def compare(function, rate, kernel_size, size, channels=(3, 4), stride=(1, 1)):
  rng = np.random.default_rng(0)
  images = rng.normal(size=(2, *size, channels[0])).astype(np.float32)
  kernel = rng.normal(size=(*kernel_size, *channels)).astype(np.float32)
  out_size = [-(-side // step) for side, step in zip(size, stride)]
  weights = rng.normal(size=(2, *out_size, channels[1])).astype(np.float32)
  expected = value_and_gradients(
    lambda images, kernel: plain(images, kernel, rate, stride),
    images,
    kernel,
    weights,
  )
  actual = value_and_gradients(function, images, kernel, weights)
  for one, other in zip(actual, expected, strict=True):
    # Sums of hundreds of terms of size 1.
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_multiplies_channels():
  compare(
    lambda images, kernel: conv.multiply_channels(
      images, kernel[0, 0], "highest"
    ),
    (1, 1),
    (1, 1),
    (5, 7),
  )


# The shares of taps that meet the map: one of nine, less and more than what
# is worth a form of its own, and all but the border.
@pytest.mark.parametrize(
  "size, rate, kernel_size",
  [
    ((17, 17), (24, 24), (3, 3)),
    ((17, 17), (12, 12), (3, 3)),
    ((5, 30), (6, 6), (3, 3)),
    ((9, 9), (8, 2), (3, 3)),
    ((9, 12), (3, 5), (5, 3)),
    ((33, 33), (2, 2), (3, 3)),
  ],
)
def test_dilated_equals_the_plain_convolution(size, rate, kernel_size):
  compare(
    lambda images, kernel: conv.convolve(
      images, kernel, rate=rate, precision="highest"
    ),
    rate,
    kernel_size,
    size,
  )


def test_many_inputs_for_each_output_equal_the_plain_convolution():
  """Of which the map is multiplied with all taps at once."""
  size, rate = (9, 12), (2, 3)
  assert conv._share_inside(size, (3, 3), rate) > conv._SHIFTED_ABOVE
  compare(
    lambda images, kernel: conv.convolve(
      images, kernel, rate=rate, precision="highest"
    ),
    rate,
    (3, 3),
    size,
    channels=(4 * conv._WORTH_SHIFTS, 4),
  )


def test_many_inputs_for_each_output_are_not_copied_for_each_tap():
  images = jax.ShapeDtypeStruct((1, 40, 40, 256), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 256, 16), jnp.float32)
  compiled = (
    jax.jit(lambda x, k: conv.convolve(x, k, rate=(10, 10)))
    .lower(images, kernel)
    .compile()
  )
  temporaries = compiled.memory_analysis().temp_size_in_bytes
  assert temporaries < 2 * 4 * 40 * 40 * 256


# Kernels large enough for a gradient by products: either of images and outputs
# with fewer channels, strides on even and odd sides, and a lone tap.
@pytest.mark.parametrize(
  "size, rate, kernel_size, channels, stride",
  [
    ((5, 7), (1, 1), (3, 3), (32, 130), (1, 1)),
    ((5, 7), (1, 1), (5, 3), (130, 32), (1, 1)),
    ((9, 8), (2, 2), (3, 3), (64, 64), (1, 1)),
    ((5, 8), (1, 1), (3, 3), (64, 64), (2, 2)),
    ((6, 7), (1, 1), (1, 1), (64, 64), (2, 2)),
    ((1, 2), (1, 1), (3, 3), (64, 64), (1, 1)),
  ],
)
def test_gradients_by_products_equal_those_by_convolution(
  size, rate, kernel_size, channels, stride
):
  compare(
    lambda images, kernel: conv.convolve(
      images, kernel, stride=stride, rate=rate, precision="highest"
    ),
    rate,
    kernel_size,
    size,
    channels,
    stride,
  )


def test_large_kernels_get_their_gradient_without_a_convolution_on_cpus():
  def count(channels):
    images = jax.ShapeDtypeStruct((1, 9, 9, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, 64), jnp.float32)
    gradient = jax.grad(lambda k, x: jnp.sum(conv.convolve(x, k) ** 2))
    text = jax.jit(gradient).lower(kernel, images).compile().as_text()
    return text.count(" convolution(")

  assert (count(32), count(64)) == (2, 1)


@pytest.mark.parametrize("rate", [24, 12, 2])
def test_leaves_out_what_meets_padding_on_cpus(rate):
  """Counted by hand: 1, (1 + 2 5/17)^2, or all 9 of 9 taps at 17 x 17."""
  images = jax.ShapeDtypeStruct((1, 17, 17, 8), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 8, 16), jnp.float32)
  compiled = (
    jax.jit(
      lambda images, kernel: conv.convolve(images, kernel, rate=(rate, rate))
    )
    .lower(images, kernel)
    .compile()
  )
  taps = {24: 1, 12: (1 + 10 / 17) ** 2, 2: 9}[rate]
  expected = 2 * taps * 17 * 17 * 8 * 16
  flops = compiled.cost_analysis()["flops"]
  # Sums of taps and, of the plain form, the padding of the border.
  assert expected * 0.8 < flops < expected * 1.2


def test_sums_taps_of_bfloat16_in_float32():
  images = jnp.ones((1, 9, 9, 256), jnp.bfloat16)
  kernel = jnp.full((3, 3, 256, 1), 1 / 256, jnp.bfloat16)
  kernel = kernel.at[1, 1].set(1.0)
  # 256 from the center and 1/256 of 256 from each of the three other taps.
  outputs = conv.convolve(images, kernel, rate=(6, 6))
  assert outputs.dtype == jnp.bfloat16
  assert float(outputs[0, 0, 0, 0]) == float(jnp.bfloat16(259))


def test_is_exported_for_maps_of_any_size():
  height, width = jax.export.symbolic_shape("h, w")
  images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
  kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4))
  kernel = kernel.astype(np.float32)

  def function(images):
    return conv.convolve(images, kernel, rate=(12, 12), precision="highest")

  exported = jax.export.export(jax.jit(function))(images)
  for size in ((17, 17), (5, 30)):
    some = np.ones((1, *size, 3), np.float32)
    np.testing.assert_allclose(
      exported.call(some), function(some), rtol=1e-5, atol=1e-5
    )
