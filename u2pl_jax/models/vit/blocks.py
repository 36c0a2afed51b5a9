"""The parts of a vision transformer's block.

Each maps tokens [B, n, D] to [B, n, D]. Products are computed in `dtype`, norms
and softmax in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from u2pl_jax.ops import lean

NORM_EPSILON = 1e-6
# Of positions and weights, as they are drawn. The published code cuts them off
# at 100 deviations, which is never.
INIT_STD = 0.02


def dense(width: int, use_bias: bool, dtype: Any, name: str) -> nn.Dense:
  """A linear layer as DINOv2 initializes it."""
  return nn.Dense(
    width,
    use_bias=use_bias,
    dtype=dtype,
    kernel_init=nn.initializers.normal(INIT_STD),
    name=name,
  )


class LayerNorm(nn.Module):
  """Layer normalization over the channels of each token."""

  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (x.shape[-1],)
    scale = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    return lean.layer_norm(x, scale, bias, NORM_EPSILON, self.dtype)


class LayerScale(nn.Module):
  """A factor for each channel, 1 at first as in the hub models."""

  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    gamma = self.param("gamma", nn.initializers.ones, (x.shape[-1],))
    return x * gamma.astype(self.dtype)


class Attention(nn.Module):
  """Each token looks at all tokens.

  Attributes:
    num_heads: each takes an equal share of the channels.
    use_bias: whether its linear layers have one.
    keep_scores: keep the softmax for the backward pass.
    dtype: compute dtype.
  """

  num_heads: int
  use_bias: bool
  keep_scores: bool
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    batch, count, width = x.shape
    qkv = dense(3 * width, self.use_bias, self.dtype, "qkv")(x)
    # In PyTorch's file: first query, key or value, then the head.
    qkv = qkv.reshape(batch, count, 3, self.num_heads, -1)
    x = lean.attend(*(qkv[:, :, i] for i in range(3)), self.keep_scores)
    x = x.reshape(batch, count, width)
    return dense(width, self.use_bias, self.dtype, "proj")(x)


class MLP(nn.Module):
  """Two linear layers with an exact GELU between them."""

  hidden: int
  use_bias: bool
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = x.shape[-1]
    x = lean.gelu(dense(self.hidden, self.use_bias, self.dtype, "fc1")(x))
    return dense(width, self.use_bias, self.dtype, "fc2")(x)


class SwiGLU(nn.Module):
  """One half of a linear layer gates the other; Shazeer 2020."""

  hidden: int
  use_bias: bool
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = x.shape[-1]
    both = dense(2 * self.hidden, self.use_bias, self.dtype, "w12")(x)
    return dense(width, self.use_bias, self.dtype, "w3")(lean.gate(both))


def swiglu_hidden(width: int) -> int:
  """Hidden width of `SwiGLU` in DINOv2: 8/3 of the width, a multiple of 8."""
  return -(-(4 * width * 2 // 3) // 8) * 8


class Block(nn.Module):
  """Attention and feed-forward, each added to what it reads.

  Attributes:
    num_heads: of attention.
    feed_forward: "mlp" or "swiglu".
    use_bias: of attention and feed-forward.
    layer_scale: whether both are scaled by channel before they are added.
    drop_rate: probability that training leaves one of both out, for single
      images; what remains is scaled up.
    keep_scores: see `Attention`.
    dtype: compute dtype.
  """

  num_heads: int
  feed_forward: str
  use_bias: bool
  layer_scale: bool
  drop_rate: float
  keep_scores: bool
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    attention = Attention(
      self.num_heads, self.use_bias, self.keep_scores, self.dtype, name="attn"
    )
    x = x + self._finish(attention(self._norm("norm1", x)), "ls1", train)
    width = x.shape[-1]
    feed_forward = {
      "mlp": (MLP, 4 * width),
      "swiglu": (SwiGLU, swiglu_hidden(width)),
    }
    kind, hidden = feed_forward[self.feed_forward]
    y = kind(hidden, self.use_bias, self.dtype, name="mlp")(
      self._norm("norm2", x)
    )
    return x + self._finish(y, "ls2", train)

  def _norm(self, name: str, x: jax.Array) -> jax.Array:
    return LayerNorm(self.dtype, name=name)(x)

  def _finish(self, y: jax.Array, name: str, train: bool) -> jax.Array:
    """A residual, scaled by channel and left out of some images."""
    if self.layer_scale:
      y = LayerScale(self.dtype, name=name)(y)
    if not (train and self.drop_rate):
      return y
    keep = 1 - self.drop_rate
    kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (len(y), 1, 1))
    return jnp.where(kept, y / keep, 0).astype(self.dtype)
