"""Logits of images of any size: whole, by sliding windows, at several scales.

All functions are traced with static sizes, so a jitted caller compiles once
for each image size.
"""

import collections
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.models import forward
from u2pl_jax.ops import resize

STRIDE_RATE = 2 / 3  # Published: stride of windows divided by their side.
# How windows are laid and put together, each as published:
#   averaged  The stride is rounded up, the last window moved back to end with
#             the image; logits are averaged (U2PL).
#   shifted   The same, but the stride is rounded down, and probabilities are
#             averaged (UniMatch V2).
#   cut       As "shifted", but windows begin at every multiple of the stride,
#             and those that would leave the image are cut off (UniMatch V1).
WINDOW_RULES = ("averaged", "shifted", "cut")
# The most windows, and the most pixels, that the network sees of an image at
# once, unless a single window has more: bounds the memory. One window of 769 x
# 769 pixels keeps an accelerator busy.
_WINDOWS_AT_ONCE = 4
_PIXELS_AT_ONCE = _WINDOWS_AT_ONCE * 513 * 513


def window_starts(
  side: int, window: int, stride_rate: float, rule: str = "averaged"
) -> list[int]:
  """First pixels of the windows that cover one side of an image.

  Args:
    side: length of the image's side in pixels; unless windows are cut off, at
      least `window`.
    window: length of the windows' side in pixels.
    stride_rate: in (0, 1], stride of the windows divided by their side.
    rule: one of `WINDOW_RULES`.

  Returns:
    Ascending starts.

  Raises:
    ValueError: `stride_rate` is out of range.
  """
  if not 0 < stride_rate <= 1:
    raise ValueError(f"stride_rate={stride_rate}: must be in (0, 1]")
  if rule == "averaged":
    stride = math.ceil(window * stride_rate)
  else:  # Two thirds of 801 are 534, whatever rounding makes of it.
    stride = max(math.floor(window * stride_rate + 1e-6), 1)
  if rule == "cut":
    return list(range(0, side, stride))
  count = math.ceil((side - window) / stride) + 1
  return [min(index * stride, side - window) for index in range(count)]


def slide(
  net: forward.Net,
  images: jax.Array,
  window: tuple[int, int],
  *,
  stride_rate: float = STRIDE_RATE,
  rule: str = "averaged",
  windows_at_once: int | None = None,
) -> jax.Array:
  """Logits of images from those of overlapping windows.

  Images smaller than the window are padded with 0, the mean color, around
  the center, and the padding's logits are cut away; where windows are cut off,
  they need not be.

  Args:
    net: the network, called on batches of windows.
    images: [B, H, W, 3] float, normalized.
    window: (height, width) in pixels.
    stride_rate: see `window_starts`.
    rule: one of `WINDOW_RULES`.
    windows_at_once: the most windows of each image that `net` sees in one
      batch; None for as many as bound the memory.

  Returns:
    [B, H, W, K] float32; where probabilities are averaged, their logarithm.

  Reference: u2pl eval.py, `scale_crop_process`; UniMatch and UniMatch-V2,
    supervised.py, `evaluate`.
  """
  if windows_at_once is None:
    windows_at_once = _PIXELS_AT_ONCE // math.prod(window)
    windows_at_once = min(max(windows_at_once, 1), _WINDOWS_AT_ONCE)
  size, place = images.shape[1:3], (0, 0)
  if rule != "cut":
    images, place = _pad_to_window(images, window)
  by_size = collections.defaultdict(list)
  for corner, shown in _lay_windows(
    images.shape[1:3], window, stride_rate, rule
  ):
    by_size[shown].append(corner)
  total = 0.0
  count = np.zeros((*images.shape[1:3], 1), np.float32)
  for shown, corners in by_size.items():
    total += _sum_windows(
      net if rule == "averaged" else lambda x: jax.nn.softmax(net(x), axis=-1),
      images,
      corners,
      shown,
      windows_at_once,
    )
    for row, column in corners:
      count[row : row + shown[0], column : column + shown[1]] += 1
  mean = total / count
  if rule != "averaged":
    mean = jnp.log(mean)
  (top, left), (height, width) = place, size
  return mean[:, top : top + height, left : left + width]


def _lay_windows(
  size: tuple[int, int], window: tuple[int, int], stride_rate: float, rule: str
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
  """The corner and the size of each window of an image of a size."""
  corners = itertools.product(
    *(
      window_starts(s, w, stride_rate, rule)
      for s, w in zip(size, window, strict=True)
    )
  )
  return [
    (
      corner,
      tuple(
        min(w, s - c) for w, s, c in zip(window, size, corner, strict=True)
      ),
    )
    for corner in corners
  ]


def _sum_windows(
  net: forward.Net,
  images: jax.Array,
  corners: Sequence[tuple[int, int]],
  window: tuple[int, int],
  windows_at_once: int,
) -> jax.Array:
  """What a network makes of windows of one size, added up: [B, H, W, K]."""
  corners, weights = _in_groups(corners, windows_at_once)
  batch, group = len(images), corners.shape[1]
  views = jax.ShapeDtypeStruct(
    (batch * group, *window, images.shape[-1]), images.dtype
  )
  num_classes = jax.eval_shape(net, views).shape[-1]

  def add_group(total, corners_and_weights):
    corners, weights = corners_and_weights
    # Images first, so that each device keeps the windows of its own images.
    views = jnp.stack(
      [_cut(images, corner, window) for corner in corners], axis=1
    )
    logits = net(views.reshape(batch * group, *views.shape[2:]))
    logits = logits.reshape(batch, group, *window, num_classes)
    for index, (corner, weight) in enumerate(zip(corners, weights)):
      so_far = _cut(total, corner, window)
      start = (0, *corner, 0)
      total = jax.lax.dynamic_update_slice(
        total, so_far + weight * logits[:, index], start
      )
    return total, None

  total = jnp.zeros((*images.shape[:3], num_classes), jnp.float32)
  total, _ = jax.lax.scan(add_group, total, (corners, weights))
  return total


def _pad_to_window(
  images: jax.Array, window: tuple[int, int]
) -> tuple[jax.Array, tuple[int, int]]:
  """Images [B, H, W, C] that hold a window, and where their own part begins."""
  missing = [
    max(w - s, 0) for w, s in zip(window, images.shape[1:3], strict=True)
  ]
  before = [m // 2 for m in missing]
  after = [m - b for m, b in zip(missing, before, strict=True)]
  spatial = zip(before, after, strict=True)
  return jnp.pad(images, [(0, 0), *spatial, (0, 0)]), tuple(before)


def _cut(
  images: jax.Array, corner: jax.Array, window: tuple[int, int]
) -> jax.Array:
  """The windows [B, *window, C] at a corner, int32 [2], of [B, H, W, C]."""
  shape = (len(images), *window, images.shape[-1])
  return jax.lax.dynamic_slice(images, (0, *corner, 0), shape)


def _in_groups(
  corners: Sequence[tuple[int, int]], windows_at_once: int
) -> tuple[np.ndarray, np.ndarray]:
  """Corners of windows in groups of equal number, int32 [G, N, 2].

  The last group may have some windows again; the weights, float32 [G, N], are 0
  for these and 1 for all others.
  """
  groups = math.ceil(len(corners) / windows_at_once)
  group = math.ceil(len(corners) / groups)
  missing = groups * group - len(corners)
  weights = np.ones(groups * group, np.float32)
  weights[len(corners) :] = 0
  laid = np.array([*corners, *corners[-1:] * missing], np.int32)
  return laid.reshape(groups, group, 2), weights.reshape(groups, group)


def sum_scales(
  logits_of: forward.Net, images: jax.Array, sizes: Sequence[tuple[int, int]]
) -> jax.Array:
  """Adds up the logits of images resized to several sizes.

  Args:
    logits_of: whole or sliding inference, of images of each of the sizes.
    images: [B, H, W, 3] float, normalized.
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
