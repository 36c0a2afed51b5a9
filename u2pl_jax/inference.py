"""Logits of images of any size: whole, by sliding windows, at several scales.

All functions are traced with static sizes, so a jitted caller compiles once
for each image size.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from u2pl_jax import resize

# Normalised images [B, H, W, 3] to logits [B, H, W, K] of the same size.
Net = Callable[[jax.Array], jax.Array]


def make_net(model: nn.Module, variables: Mapping[str, Any]) -> Net:
  """The network in eval mode, its logits resized to the images' size."""

  def net(images):
    outputs = model.apply(variables, images, train=False, dropout=False)
    return resize.resize_bilinear(outputs["logits"], images.shape[1:3])

  return net


def window_starts(side: int, window: int, stride_rate: float) -> list[int]:
  """First pixels of the windows that cover one side of an image.

  Args:
    side: of the image in pixels, at least `window`.
    window: side of the windows in pixels.
    stride_rate: in (0, 1], stride of the windows divided by their side; the
      stride is rounded up.

  Returns:
    Ascending starts; the last window is moved back to end with the image.

  Raises:
    ValueError: `stride_rate` is out of range.
  """
  if not 0 < stride_rate <= 1:
    raise ValueError(f"stride_rate={stride_rate}: must be in (0, 1]")
  stride = math.ceil(window * stride_rate)
  count = math.ceil((side - window) / stride) + 1
  return [min(index * stride, side - window) for index in range(count)]


def slide(
  net: Net,
  images: jax.Array,
  window: tuple[int, int],
  *,
  stride_rate: float = 2 / 3,
  windows_at_once: int = 4,
) -> jax.Array:
  """Averages the logits of overlapping windows.

  Images smaller than the window are padded with 0, the mean colour, around
  the centre, and the padding's logits are cut away.

  Args:
    net: called on batches of windows.
    images: [B, H, W, 3] float, normalised.
    window: (height, width) in pixels.
    stride_rate: see `window_starts`.
    windows_at_once: windows of each image that `net` sees in one batch; bounds
      the memory.

  Returns:
    [B, H, W, K] float32.

  Reference: u2pl eval.py, `scale_crop_process`.
  """
  size = images.shape[1:3]
  missing = [max(w - s, 0) for w, s in zip(window, size, strict=True)]
  before = [m // 2 for m in missing]
  after = [m - b for m, b in zip(missing, before, strict=True)]
  spatial = zip(before, after, strict=True)
  images = jnp.pad(images, [(0, 0), *spatial, (0, 0)])
  corners = np.array(
    list(
      itertools.product(
        *(
          window_starts(s, w, stride_rate)
          for s, w in zip(images.shape[1:3], window, strict=True)
        )
      )
    )
  )

  def logits_at(corner):
    start = (0, *corner, 0)
    shape = (len(images), *window, images.shape[-1])
    return net(jax.lax.dynamic_slice(images, start, shape))

  batch = min(windows_at_once, len(corners))
  logits = jax.lax.map(logits_at, corners, batch_size=batch)
  total = jnp.zeros((*images.shape[:3], logits.shape[-1]), jnp.float32)
  count = np.zeros((*images.shape[1:3], 1), np.float32)
  for corner, part in zip(corners, logits, strict=True):
    rows, columns = (
      slice(c, c + w) for c, w in zip(corner, window, strict=True)
    )
    total = total.at[:, rows, columns].add(part)
    count[rows, columns] += 1
  top, left = before
  return (total / count)[:, top : top + size[0], left : left + size[1]]


def sum_scales(
  logits_of: Net, images: jax.Array, sizes: Sequence[tuple[int, int]]
) -> jax.Array:
  """Adds up the logits of images resized to several sizes.

  Args:
    logits_of: whole or sliding inference, of images of each of the sizes.
    images: [B, H, W, 3] float, normalised.
    sizes: (height, width) of each scale.

  Returns:
    [B, H, W, K] float32; the images' own size, whatever the scales.

  Raises:
    ValueError: there is no size.

  Reference: u2pl eval.py, `validate_city` and `valiadte_whole`.
  """
  if not sizes:
    raise ValueError("sum_scales needs at least one size")
  return sum(
    resize.resize_bilinear(
      logits_of(resize.resize_bilinear(images, size)), images.shape[1:3]
    )
    for size in sizes
  )


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
  """Both sides times `scale`, rounded (published protocol on PASCAL VOC)."""
  return round(size[0] * scale), round(size[1] * scale)


def long_side_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
  """The size with the same ratio whose longer side is `long_side`.

  The published protocol on Cityscapes; there `long_side` is the scale times
  2048, rounded.
  """
  ratio = long_side / max(size)
  return round(size[0] * ratio), round(size[1] * ratio)
