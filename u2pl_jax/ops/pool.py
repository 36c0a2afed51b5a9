"""Max-pooling whose gradient needs no sorting and no scatter."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

_SIDE, _STRIDE = 3, 2


@jax.custom_vjp
def max_pool_ceil(x: jax.Array) -> jax.Array:
  """3x3 max-pool with stride 2, padding 1 and ceil mode.

  Even sides get one more output than without ceil mode: 40 -> 21, 41 -> 21.
  Of equal values the first one in a window takes the gradient.

  Args:
    x: [B, H, W, C].

  Returns:
    [B, H // 2 + 1, W // 2 + 1, C].

  Reference: torch.nn.MaxPool2d(3, 2, 1, ceil_mode=True).
  """
  return _pool(x)


def _pool(x: jax.Array) -> jax.Array:
  stride = (_STRIDE, _STRIDE)
  return nn.max_pool(x, (_SIDE, _SIDE), stride, padding=_padding(x))


def _padding(x: jax.Array) -> list[tuple[int, int]]:
  # The last window starts at 2 * (H // 2) - 1 and is padded to its end.
  return [(1, 1 + (side % 2 == 0)) for side in x.shape[1:3]]


def _forward(x):
  y = _pool(x)
  return y, (x, y)


def _backward(saved, grad):
  return (
    jax.lax.platform_dependent(
      *saved, grad, cpu=_find_again, default=_select_and_scatter
    ),
  )


def _select_and_scatter(x, y, grad):
  del y
  return jax.vjp(_pool, x)[1](grad)[0]


def _find_again(x, y, grad):
  """Looks where in each window the maximum was, one place after the other.

  XLA's own rule makes maps of positions on CPUs: four times as slow, and six
  times the memory.
  """
  lowest = jnp.array(-jnp.inf, x.dtype)
  padding = ((0, 0), *_padding(x), (0, 0))
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


max_pool_ceil.defvjp(_forward, _backward)
