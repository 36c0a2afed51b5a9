"""Functions that keep no more for their gradient than they have to.

What JAX would keep of the plain formulas, one array for each factor, grows with
the images: an exact GELU alone would keep three. These keep what PyTorch keeps.
"""

import functools
import math

import jax
import jax.numpy as jnp


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
  """max(x, 0), which keeps its result alone."""
  return jnp.maximum(x, 0)


def _relu_forward(x):
  y = relu(x)
  return y, y


def _relu_backward(y, grad):
  return (jnp.where(y > 0, grad, 0),)


relu.defvjp(_relu_forward, _relu_backward)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
  """x Phi(x) with the exact normal distribution Phi; keeps `x` alone.

  Computed in float32; the result has the dtype of `x`.
  """
  wide = x.astype(jnp.float32)
  return (wide * _normal_cdf(wide)).astype(x.dtype)


def _normal_cdf(x):
  return 0.5 * jax.lax.erfc(-x * math.sqrt(0.5))


def _gelu_forward(x):
  return gelu(x), x


def _gelu_backward(x, grad):
  wide = x.astype(jnp.float32)
  density = jnp.exp(-0.5 * jnp.square(wide)) / math.sqrt(2 * math.pi)
  slope = _normal_cdf(wide) + wide * density
  return ((grad.astype(jnp.float32) * slope).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


@jax.custom_vjp
def gate(both: jax.Array) -> jax.Array:
  """silu of the first half of the channels times the second half.

  Computed in float32; keeps its input and the silu.

  Args:
    both: [..., 2C], any float type.

  Returns:
    [..., C], the same dtype.
  """
  return _gate_forward(both)[0]


def _gate_forward(both):
  first, second = jnp.split(both, 2, axis=-1)
  silu = jax.nn.silu(first.astype(jnp.float32)).astype(both.dtype)
  return silu * second, (both, silu)


def _gate_backward(kept, grad):
  both, silu = kept
  first, second = jnp.split(both.astype(jnp.float32), 2, axis=-1)
  grad = grad.astype(jnp.float32)
  sigmoid = jax.nn.sigmoid(first)
  slope = sigmoid * (1 + first * (1 - sigmoid))
  halves = grad * second * slope, grad * silu.astype(jnp.float32)
  return (jnp.concatenate(halves, axis=-1).astype(both.dtype),)


gate.defvjp(_gate_forward, _gate_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def layer_norm(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype
) -> jax.Array:
  """Layer normalization over the last axis, in float32.

  Keeps `x` and two numbers of each position.

  Args:
    x: [..., C], any float type.
    scale, bias: float32 [C].
    epsilon: added to the variance.
    dtype: of the result.
  """
  return _normalize(x, scale, bias, epsilon, dtype)[0]


def _normalize(x, scale, bias, epsilon, dtype):
  wide = x.astype(jnp.float32)
  mean = jnp.mean(wide, -1, keepdims=True)
  # Of the differences: some channels of trained encoders are very large.
  variance = jnp.mean(jnp.square(wide - mean), -1, keepdims=True)
  rate = jax.lax.rsqrt(variance + epsilon)
  return ((wide - mean) * rate * scale + bias).astype(dtype), mean, rate


def _norm_forward(x, scale, bias, epsilon, dtype):
  y, mean, rate = _normalize(x, scale, bias, epsilon, dtype)
  return y, (x, scale, mean, rate)


def _norm_backward(epsilon, dtype, kept, grad):
  del epsilon, dtype
  x, scale, mean, rate = kept
  grad = grad.astype(jnp.float32)
  unit = (x.astype(jnp.float32) - mean) * rate
  axes = tuple(range(x.ndim - 1))
  grad_unit = grad * scale
  inner = grad_unit - jnp.mean(grad_unit, -1, keepdims=True)
  inner -= unit * jnp.mean(grad_unit * unit, -1, keepdims=True)
  return (
    (rate * inner).astype(x.dtype),
    jnp.sum(grad * unit, axes),
    jnp.sum(grad, axes),
  )


layer_norm.defvjp(_norm_forward, _norm_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(
  queries: jax.Array, keys: jax.Array, values: jax.Array, keep_scores: bool
) -> jax.Array:
  """softmax(q k' / sqrt(c)) v over all tokens; the softmax in float32.

  `jax.nn.dot_product_attention` keeps two arrays [B, h, n, n] for its gradient;
  this keeps one or none.

  Args:
    queries, keys, values: [B, n, h, c], h heads of c channels.
    keep_scores: keep the softmax for the gradient; False computes it again.

  Returns:
    [B, n, h, c], the dtype of `values`.
  """
  del keep_scores
  return _weigh(_scores(queries, keys), values)


def _scores(queries, keys):
  """The softmax, [B, h, n, n], in the dtype of the queries."""
  queries = queries * queries.shape[-1] ** -0.5
  products = jnp.einsum(
    "bqhc,bkhc->bhqk", queries, keys, preferred_element_type=jnp.float32
  )
  return jax.nn.softmax(products).astype(queries.dtype)


def _weigh(scores, values):
  return jnp.einsum("bhqk,bkhc->bqhc", scores, values)


def _attend_forward(queries, keys, values, keep_scores):
  scores = _scores(queries, keys)
  kept = (queries, keys, values, scores if keep_scores else None)
  return _weigh(scores, values), kept


def _attend_backward(keep_scores, kept, grad):
  queries, keys, values, scores = kept
  if not keep_scores:
    # Else the compiler finds that it has the scores already, and keeps them.
    queries, keys, grad = jax.lax.optimization_barrier((queries, keys, grad))
    scores = _scores(queries, keys)
  grad_values = jnp.einsum("bhqk,bqhc->bkhc", scores, grad)
  grad_scores = jnp.einsum(
    "bqhc,bkhc->bhqk", grad, values, preferred_element_type=jnp.float32
  )
  mean = jnp.sum(scores * grad_scores, -1, keepdims=True)
  grad_products = (scores * (grad_scores - mean)).astype(queries.dtype)
  scale = queries.shape[-1] ** -0.5
  grad_queries = jnp.einsum("bhqk,bkhc->bqhc", grad_products, keys) * scale
  grad_keys = jnp.einsum("bhqk,bqhc->bkhc", grad_products, queries) * scale
  return grad_queries, grad_keys, grad_values


attend.defvjp(_attend_forward, _attend_backward)
