"""Programs as plain operations."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.models import depthwise
from u2pl_jax.ops import conv, lean, pool, resize
from u2pl_jax.runtime import flat_program

X = np.random.default_rng(0).normal(size=(2, 9, 8, 4)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 4, 4)).astype(np.float32)


def operations(function, *arguments):
  """Names of the operations of a program, without those within others."""
  jaxpr = jax.make_jaxpr(function)(*arguments)
  return [equation.primitive.name for equation in jaxpr.eqns]


FUNCTIONS = {
  "jit": jax.jit(lambda x: {"twice": 2 * x, "sum": jax.jit(jnp.sum)(x)}),
  "relu": lean.relu,
  "custom_jvp": jax.nn.relu6,
  "checkpoint": jax.checkpoint(lambda x: jnp.sin(jnp.cos(x))),
  "pool": lambda x: pool.max_pool(x, True),
  "dilated": lambda x: conv.convolve(x, KERNEL, rate=(4, 4)),
  "depthwise": lambda x: depthwise.depthwise_conv(x, KERNEL[:, :, :1], 2, 1),
  "resized": lambda x: resize.resize_bilinear(x, (17, 15)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_results_are_those_of_the_function(name):
  function = FUNCTIONS[name]
  flat = flat_program.flatten(function, X)
  jax.tree.map(
    lambda found, expected: np.testing.assert_allclose(
      found, expected, rtol=1e-5, atol=1e-5
    ),
    flat(X),
    function(X),
  )
  known = {"jit", "pjit", "checkpoint", "cond", "platform_index"}
  found = operations(flat, X)
  assert found
  assert not [n for n in found if n in known or n.startswith("custom_")]


def test_platforms_get_the_form_for_all_others():
  def function(x):
    return jax.lax.platform_dependent(
      x, cpu=jnp.sin, cuda=jnp.tan, default=jnp.cos
    )

  flat = flat_program.flatten(function, X)
  np.testing.assert_allclose(flat(X), np.cos(X), rtol=1e-6)
  assert operations(flat, X) == ["cos"]


def test_a_missing_form_is_told():
  def function(x):
    return jax.lax.platform_dependent(x, cpu=jnp.sin, cuda=jnp.tan)

  flat = flat_program.flatten(function, X)
  with pytest.raises(ValueError, match="none for all others"):
    flat(X)


def test_choices_of_the_program_itself_stay():
  def function(x):
    return jax.lax.cond(jnp.sum(x) > 0, jnp.sin, jnp.cos, x)

  flat = flat_program.flatten(function, X)
  assert "cond" in operations(flat, X)
  for x in (np.abs(X), -np.abs(X)):
    np.testing.assert_allclose(flat(x), function(x), rtol=1e-6)


def test_what_no_result_depends_on_is_left_out():
  def function(x):
    jnp.sin(x)
    return jnp.cos(x)

  assert "sin" in operations(function, X)
  assert operations(flat_program.flatten(function, X), X) == ["cos"]


def test_dimensions_may_be_symbols():
  shape = (*jax.export.symbolic_shape("batch"), *X.shape[1:])
  images = jax.ShapeDtypeStruct(shape, X.dtype)

  def function(x):
    return x + jnp.ones((x.shape[0], 1, 1, 1))

  flat = flat_program.flatten(function, images)
  net = jax.export.export(jax.jit(flat))(images)
  np.testing.assert_array_equal(net.call(X), X + 1)


def test_operations_are_replaced_by_their_names():
  def negate(x, **params):
    return NotImplemented if x.ndim == 1 else -x

  def function(x):
    return jax.jit(jnp.sin)(x) + jnp.sin(x[0, 0, 0])

  flat = flat_program.flatten(function, X, replace={"sin": negate})
  np.testing.assert_allclose(flat(X), -X + np.sin(X[0, 0, 0]), atol=1e-6)
