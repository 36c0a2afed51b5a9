"""FLOPs of programs counted by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from u2pl_jax.runtime import flops


def shape(*sizes, dtype=np.float32):
  return jax.ShapeDtypeStruct(sizes, dtype)


def count(function, *args):
  with jax.default_matmul_precision("default"):
    return dict(flops.count_jaxpr(jax.jit(function).trace(*args).jaxpr))


def test_a_product_has_two_for_each_pair_of_numbers():
  product = functools.partial(jnp.einsum, "bij,bjk->bik")
  arrays = shape(2, 3, 5), shape(2, 5, 7)
  assert count(product, *arrays) == {"float32": 2 * 2 * 3 * 5 * 7}
  highest = functools.partial(product, precision=lax.Precision.HIGHEST)
  assert count(highest, *arrays) == {"float32, highest": 420}
  halves = [shape(*each.shape, dtype=jnp.bfloat16) for each in arrays]
  assert count(product, *halves) == {"bfloat16": 420}


def convolve(x, kernel, **settings):
  settings = dict(window_strides=(1, 1), padding="SAME") | settings
  return lax.conv_general_dilated(
    x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings
  )


def brute_force(x_shape, kernel_shape, **settings):
  """All pairs of output and tap with a 1 below, from a convolution of ones."""
  ones = convolve(
    np.ones(x_shape, np.float32), np.ones(kernel_shape, np.float32), **settings
  )
  return 2 * int(np.sum(ones))


@pytest.mark.parametrize(
  "x, kernel, settings",
  [
    ((2, 9, 8, 3), (3, 3, 3, 4), {}),
    ((2, 9, 8, 3), (3, 3, 3, 4), {"window_strides": (2, 2)}),
    ((1, 5, 5, 2), (3, 3, 2, 2), {"rhs_dilation": (4, 4),
                                  "padding": [(4, 4), (4, 4)]}),
    ((1, 5, 5, 2), (3, 3, 2, 2), {"rhs_dilation": (8, 8),
                                  "padding": [(8, 8), (8, 8)]}),
    ((1, 5, 6, 2), (3, 2, 2, 2), {"lhs_dilation": (2, 3),
                                  "padding": [(2, 1), (0, 2)]}),
    ((2, 6, 6, 8), (3, 3, 1, 8), {"feature_group_count": 8}),
    ((4, 6, 6, 3), (3, 3, 3, 4), {"batch_group_count": 2}),
  ],
)  # fmt: skip
def test_a_convolution_counts_what_meets_its_input(x, kernel, settings):
  convolution = functools.partial(convolve, **settings)
  assert count(convolution, shape(*x), shape(*kernel)) == {
    "float32": brute_force(x, kernel, **settings)
  }


def test_a_gradient_counts_as_much_again_for_each_argument():
  arrays = shape(2, 9, 9, 3), shape(3, 3, 3, 4)
  convolution = functools.partial(convolve, window_strides=(2, 2))

  def gradients(*args):
    return jax.vjp(convolution, *args)[1](jnp.ones((2, 5, 5, 4)))

  once = count(convolution, *arrays)["float32"]
  assert count(gradients, *arrays) == {"float32": 2 * once}


def test_what_no_result_depends_on_does_not_count():
  @jax.jit
  def both(x):
    return x @ x, jnp.sum(x @ x @ x)

  def first(x):
    return both(x)[0]

  assert count(first, shape(4, 4)) == {"float32": 2 * 4**3}


def test_remat_counts_twice_what_is_computed_twice():
  def loss(x):
    return jnp.sum(jnp.sin(x @ x))

  plain, again = jax.value_and_grad(loss), jax.value_and_grad(jax.remat(loss))
  one = 2 * 4**3
  assert count(plain, shape(4, 4)) == {"float32": 3 * one}
  assert count(again, shape(4, 4)) == {"float32": 4 * one}


def test_loops_count_as_often_as_they_run_and_the_cheapest_branch():
  def loop(x):
    return lax.fori_loop(0, 5, lambda _, y: y @ y, x)

  def unknown(x):
    return lax.while_loop(lambda y: jnp.sum(y) > 0, lambda y: y @ y, x)

  def branch(x):
    return lax.cond(x[0, 0] > 0, lambda y: y @ y, lambda y: y @ y @ y, x)

  for function, times in ((loop, 5), (unknown, 1), (branch, 1)):
    assert count(function, shape(4, 4)) == {"float32": times * 2 * 4**3}


def test_all_kinds_count_together():
  def function(a, b):
    return a @ a, b @ b

  arrays = shape(4, 4), shape(4, 4, dtype=jnp.bfloat16)
  assert flops.count(function, *arrays) == 2 * 2 * 4**3
