"""Depthwise convolution: its two forms agree, and CPUs get the quick one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.models import depthwise


def _arrays(shape, kernel_size, dtype=np.float32):
  rng = np.random.default_rng(0)
  x = rng.normal(size=shape).astype(dtype)
  kernel = rng.normal(size=(kernel_size, kernel_size, 1, shape[-1]))
  return x, kernel.astype(dtype)


def _with_gradients(function, stride, dilation):
  """y, and the gradients by x and kernel of sum(y * sin(its index))."""

  def loss(x, kernel):
    y = function(x, kernel, stride, dilation)
    return jnp.sum(y * jnp.sin(jnp.arange(y.size)).reshape(y.shape)), y

  return jax.jit(jax.grad(loss, (0, 1), has_aux=True))


@pytest.mark.parametrize("batch,sides", [(16, (9, 8)), (3, (8, 11))])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("stride,dilation", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_slices_equal_the_convolution(
  batch, sides, kernel_size, stride, dilation
):
  arguments = _arrays((batch, *sides, 4), kernel_size)
  expected, actual = (
    _with_gradients(form, stride, dilation)(*arguments)
    for form in (depthwise.by_convolution, depthwise.by_slices)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5),
    actual,
    expected,
  )


def test_odd_padding_goes_to_the_bottom_and_right():
  x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
  y = jax.jit(lambda x, k: depthwise.depthwise_conv(x, k, 2, 1))(
    x, np.ones((3, 3, 1, 1), np.float32)
  )
  # The first window covers rows and columns 0-2, the last one 2-3.
  assert y[0, ..., 0].tolist() == [[45, 39], [66, 50]]


def test_a_cpu_gets_the_slices_alone():
  x, kernel = _arrays((2, 9, 9, 4), 3)
  run = _with_gradients(depthwise.depthwise_conv, 1, 1)
  program = run.lower(x, kernel).compile().as_text()
  assert "convolution(" not in program and "conditional(" not in program


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_the_convolution(platform):
  x, kernel = _arrays((2, 9, 9, 4), 3)
  run = jax.jit(lambda x, k: depthwise.depthwise_conv(x, k, 1, 1))
  program = run.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
  assert "stablehlo.convolution" in program


def test_bfloat16_sums_in_float32():
  x, kernel = _arrays((8, 33, 33, 4), 3, jnp.bfloat16)
  run = _with_gradients(depthwise.by_slices, 1, 1)
  actual = run(x, kernel)
  expected = run(x.astype(np.float32), kernel.astype(np.float32))
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    assert a.dtype == jnp.bfloat16
    error = np.abs(np.asarray(a, np.float32) - b).max()
    assert error < 0.01 * np.abs(b).max()


def test_kernels_start_with_a_variance_of_two_over_the_taps():
  module = depthwise.DepthwiseConv(5, 1, 1, jnp.float32)
  kernel = module.init(jax.random.key(0), jnp.zeros((1, 3, 3, 512)))
  kernel = kernel["params"]["kernel"]
  assert kernel.shape == (5, 5, 1, 512) and kernel.dtype == jnp.float32
  np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 25), rtol=0.03)
