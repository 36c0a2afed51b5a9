"""Evaluation by sliding windows in PyTorch.

As in the published code (U2PL, eval.py, scale_crop_process): one window after
the other, logits resized to it, summed, divided by how often a pixel was seen.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import arrays
from benchmarks.peers import torch_common, torch_network

_STRIDE_RATE = 2 / 3
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)


@torch.no_grad()
def slide(
  net: Callable[[torch.Tensor], torch.Tensor],
  image: torch.Tensor,
  num_classes: int,
  window: tuple[int, int],
  out_size: tuple[int, int],
  stride_rate: float = _STRIDE_RATE,
) -> torch.Tensor:
  """Mean logits [1, K, *out_size] of overlapping windows.

  Args:
    net: images [1, 3, H, W] to logits at a size of its own.
    image: [1, 3, H, W], normalized; padded around where it is smaller.
    num_classes: K.
    window: (height, width).
    out_size: that the result is resized to.
    stride_rate: stride of the windows divided by their side.
  """
  height, width = image.shape[2:]
  missing = [max(w - s, 0) for w, s in zip(window, (height, width))]
  top, left = missing[0] // 2, missing[1] // 2
  image = F.pad(image, (left, missing[1] - left, top, missing[0] - top))
  total = image.new_zeros((1, num_classes, *image.shape[2:]))
  count = image.new_zeros(image.shape[2:])
  starts = [
    _window_starts(side, of_window, stride_rate)
    for side, of_window in zip(image.shape[2:], window)
  ]
  for y in starts[0]:
    for x in starts[1]:
      place = (..., slice(y, y + window[0]), slice(x, x + window[1]))
      logits = net(image[place].contiguous())
      total[place] += torch_network.resize(logits, window)
      count[place] += 1
  total /= count
  total = total[..., top : top + height, left : left + width]
  return torch_network.resize(total, out_size)


def _window_starts(side: int, window: int, stride_rate: float) -> list[int]:
  stride = math.ceil(window * stride_rate)
  count = math.ceil((side - window) / stride) + 1
  return [min(index * stride, side - window) for index in range(count)]


def make(settings: dict[str, Any]) -> "_Eval":
  """See `u2pl_jax.tools.benchmark_worker`.

  Args:
    settings: those of `benchmarks.ours.eval`, format and precision.
  """
  return _Eval(settings)


class _Eval:
  def __init__(self, settings):
    self._setting = torch_common.Setting(settings)
    config = settings["config"]
    self._window = tuple(config["eval"]["crop_size"])
    self._num_classes = settings["num_classes"]
    self._net = torch_network.create(config, self._num_classes).eval()
    self._net.to(
      self._setting.device, memory_format=self._setting.memory_format
    )
    pixels = arrays.make_eval(settings).astype("float32")
    pixels = (pixels - _MEAN) / _STD
    self._images = self._setting.place(pixels.astype("float32"))
    self.images = len(self._images)

  def run(self, calls: int) -> None:
    for _ in range(calls):
      for image in self._images.split(1):
        size = tuple(image.shape[2:])
        logits = slide(
          self._predict, image, self._num_classes, self._window, size
        )
        torch.max(logits, dim=1).indices.cpu()
    self._setting.wait()

  def describe(self) -> dict[str, Any]:
    return self._setting.describe({"images": self._images.shape})

  def _predict(self, window):
    window = window.contiguous(memory_format=self._setting.memory_format)
    with self._setting.autocast():
      return self._net(window)["pred"]
