"""What keeps less computes the same, with the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.ops import lean


def arrays(*shapes):
  keys = jax.random.split(jax.random.key(0), len(shapes))
  return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def assert_same(function, plain, *inputs):
  """Values and gradients, for a weighted sum of the result."""

  def weighted(f):
    def total(*inputs):
      y = f(*inputs)
      return jnp.sum(y * jnp.cos(jnp.arange(y.size)).reshape(y.shape))

    return jax.value_and_grad(total, tuple(range(len(inputs))))(*inputs)

  np.testing.assert_allclose(
    function(*inputs), plain(*inputs), rtol=1e-5, atol=1e-5
  )
  for found, expected in zip(
    jax.tree.leaves(weighted(function)),
    jax.tree.leaves(weighted(plain)),
    strict=True,
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_relu():
  assert_same(lean.relu, jax.nn.relu, *arrays((4, 5)))


def test_gelu_is_the_exact_one():
  def exact(x):
    return jax.nn.gelu(x, approximate=False)

  assert_same(lean.gelu, exact, *arrays((4, 5)))


def test_gate():
  def plain(both):
    first, second = jnp.split(both, 2, axis=-1)
    return jax.nn.silu(first) * second

  assert_same(lean.gate, plain, *arrays((3, 8)))


def test_layer_norm():
  def plain(x, scale, bias):
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale + bias

  def ours(x, scale, bias):
    return lean.layer_norm(x, scale, bias, 1e-6, jnp.float32)

  assert_same(ours, plain, *arrays((2, 3, 8), (8,), (8,)))


def test_layer_norm_of_large_values_keeps_their_spread():
  x = 1e4 + jnp.arange(8.0)
  found = lean.layer_norm(x, jnp.ones(8), jnp.zeros(8), 1e-6, jnp.float32)
  expected = (np.arange(8) - 3.5) / np.arange(8).std()
  np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("keep", [True, False])
def test_attend(keep):
  def ours(q, k, v):
    return lean.attend(q, k, v, keep)

  shape = (2, 5, 3, 4)
  assert_same(ours, jax.nn.dot_product_attention, *arrays(shape, shape, shape))


@pytest.mark.parametrize("keep, count", [(True, 1), (False, 0)])
def test_attend_keeps_the_weights_once_or_not_at_all(keep, count):
  tokens = jax.ShapeDtypeStruct((2, 50, 3, 4), jnp.float32)
  kept = jax.eval_shape(
    lambda *qkv: jax.vjp(lambda *x: lean.attend(*x, keep), *qkv)[1],
    *(tokens,) * 3,
  )
  shapes = [leaf.shape for leaf in jax.tree.leaves(kept)]
  assert shapes.count((2, 3, 50, 50)) == count
  assert shapes.count(tokens.shape) == 3 and len(shapes) == 3 + count


def test_half_precision_goes_in_and_out():
  x = jnp.ones((2, 6), jnp.bfloat16)
  assert lean.gelu(x).dtype == lean.gate(x).dtype == jnp.bfloat16
