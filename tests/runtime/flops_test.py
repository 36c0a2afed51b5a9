"""Operations counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from u2pl_jax.runtime import flops

A = jax.ShapeDtypeStruct((5, 3), jnp.float32)
B = jax.ShapeDtypeStruct((3, 4), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((2, 9, 9, 6), jnp.float32)
KERNEL = jax.ShapeDtypeStruct((3, 3, 6, 8), jnp.float32)
# Of 2 x 9 x 9 x 8 results, each the sum of 3 x 3 x 6 products.
SAME = 2 * (2 * 9 * 9 * 8) * (3 * 3 * 6)


def conv(image, kernel, stride=1, dilation=1):
  return jax.lax.conv_general_dilated(
    image,
    kernel,
    (stride, stride),
    [(dilation, dilation)] * 2,
    rhs_dilation=(dilation, dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def test_a_matrix_product():
  assert flops.count(jnp.dot, A, B) == 2 * 5 * 3 * 4


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_convolution(dilation):
  def function(image, kernel):
    return conv(image, kernel, dilation=dilation)

  assert flops.count(function, IMAGE, KERNEL) == SAME


@pytest.mark.parametrize("stride, outputs", [(1, 81), (2, 25)])
def test_each_gradient_of_a_convolution_is_as_long_as_itself(stride, outputs):
  def function(image, kernel):
    def loss(*both):
      return jnp.sum(conv(*both, stride=stride) ** 2)

    return jax.grad(loss, argnums=(0, 1))(image, kernel)

  counted = flops.count(function, IMAGE, KERNEL)
  forward = SAME * outputs // 81
  # The input's gradient has a place for each input, of which a share counts.
  of_input = SAME * 81 // (81 * stride**2)
  assert counted == 2 * forward + of_input


def test_what_no_result_needs_is_left_out():
  def function(a, b):
    unused = jax.jit(jnp.dot)(a, b)
    wanted, _ = jax.jit(lambda a, b: (a @ b, a @ b @ b.T))(a, b)
    del unused
    return wanted

  assert flops.count(function, A, B) == 2 * 5 * 3 * 4


def test_loops_and_branches():
  square = jax.ShapeDtypeStruct((4, 4), jnp.float32)

  def loop(x):
    return jax.lax.scan(lambda x, _: (x @ x, None), x, length=7)[0]

  def branch(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x, x)

  assert flops.count(loop, square) == 7 * 2 * 4**3
  assert flops.count(branch, square) == 2 * 2 * 4**3
