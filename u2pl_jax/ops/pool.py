"""Max-pooling whose gradient needs no sorting and no scatter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

_SIDE, _STRIDE = 3, 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, is_ceil: bool) -> jax.Array:
  """3x3 max-pool with stride 2 and padding 1.

  Of equal values the first one in a window takes the gradient.

  Args:
    x: [B, H, W, C].
    is_ceil: whether even sides get one more output: 40 -> 21 or 20, 41 -> 21.

  Returns:
    [B, H // 2 + 1, W // 2 + 1, C] with `is_ceil`, else
    [B, (H + 1) // 2, (W + 1) // 2, C].

  Reference: torch.nn.MaxPool2d(3, 2, 1, ceil_mode=is_ceil).
  """
  return _pool(x, is_ceil)


def _pool(x: jax.Array, is_ceil: bool) -> jax.Array:
  return nn.max_pool(
    x,
    window_shape=(_SIDE, _SIDE),
    strides=(_STRIDE, _STRIDE),
    padding=_padding(is_ceil),
  )


def _padding(is_ceil: bool) -> list[tuple[int, int]]:
  # In ceil mode the last window starts at 2 * (H // 2) - 1 and is padded to its
  # end; with odd sides no window reaches the second row or column of padding.
  return [(1, 1 + is_ceil)] * 2


def _forward(x, is_ceil):
  y = _pool(x, is_ceil)
  return y, (x, y)


def _backward(is_ceil, saved, grad):
  find, select = (
    functools.partial(rule, is_ceil)
    for rule in (_find_again, _select_and_scatter)
  )
  return (jax.lax.platform_dependent(*saved, grad, cpu=find, default=select),)


def _select_and_scatter(is_ceil, x, y, grad):
  del y
  return jax.vjp(lambda x: _pool(x, is_ceil), x)[1](grad)[0]


def _find_again(is_ceil, x, y, grad):
  """Looks where in each window the maximum was, one place after the other.

  XLA's own rule makes maps of positions on CPUs: four times as slow, and six
  times the memory.
  """
  lowest = jnp.array(-jnp.inf, x.dtype)
  padding = ((0, 0), *_padding(is_ceil), (0, 0))
  padded = jnp.pad(x, padding, constant_values=lowest)
  spans = [_STRIDE * (side - 1) + 1 for side in y.shape[1:3]]
  is_open, total = jnp.ones(y.shape, bool), jnp.zeros((), grad.dtype)
  for row, column in np.ndindex(_SIDE, _SIDE):
    values = padded[
      :, row : row + spans[0] : _STRIDE, column : column + spans[1] : _STRIDE
    ]
    is_here = is_open & (values == y)
    is_open &= ~is_here
    rests = [
      side - start - span
      for side, start, span in zip(padded.shape[1:3], (row, column), spans)
    ]
    total += jax.lax.pad(
      jnp.where(is_here, grad, 0),
      jnp.zeros((), grad.dtype),
      (
        (0, 0, 0),
        (row, rests[0], _STRIDE - 1),
        (column, rests[1], _STRIDE - 1),
        (0, 0, 0),
      ),
    )
  return total[:, 1 : 1 + x.shape[1], 1 : 1 + x.shape[2]]


max_pool.defvjp(_forward, _backward)
