"""What PyTorch's sides share: device, memory format, precision, their peak."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import matmul

_FORMATS = {
  "contiguous": torch.contiguous_format,
  "channels_last": torch.channels_last,
}


class Setting:
  """Device, memory format and precision of a side.

  Attributes:
    device: a GPU if there is one.
    memory_format: of maps [B, C, H, W].
  """

  def __init__(self, settings: Mapping[str, Any]):
    """Sets PyTorch up for the whole process.

    Args:
      settings: format, "contiguous" or "channels_last"; precision, "float32",
        "tf32" (of GPUs) or "bfloat16" (by autocast); seed.

    Raises:
      ValueError: there is no GPU that PyTorch sees, for "tf32"; one line.
    """
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    self.memory_format = _FORMATS[settings["format"]]
    self._precision = settings["precision"]
    torch.manual_seed(settings["seed"])
    if self._precision == "tf32" and self.device.type == "cpu":
      raise ValueError(
        f"--peer: PyTorch {torch.__version__} sees no GPU; install one that is"
        " built for it"
      )
    if self.device.type == "cuda":
      torch.backends.cudnn.benchmark = True
      uses_tf32 = self._precision != "float32"
      torch.backends.cuda.matmul.allow_tf32 = uses_tf32
      torch.backends.cudnn.allow_tf32 = uses_tf32
    elif hasattr(os, "sched_getaffinity"):
      torch.set_num_threads(len(os.sched_getaffinity(0)))

  def place(self, array: np.ndarray) -> torch.Tensor:
    """Puts an array on the device; [B, H, W, C] as maps in their format."""
    tensor = torch.from_numpy(array)
    if tensor.ndim != 4:
      return tensor.to(self.device)
    maps = tensor.permute(0, 3, 1, 2).to(self.device)
    return maps.contiguous(memory_format=self.memory_format)

  def autocast(self) -> contextlib.AbstractContextManager:
    """What forward passes run in."""
    if self._precision != "bfloat16":
      return contextlib.nullcontext()
    return torch.autocast(self.device.type, dtype=torch.bfloat16)

  def wait(self) -> None:
    """Waits until all that was asked of the device is done."""
    if self.device.type == "cuda":
      torch.cuda.synchronize()

  def describe(
    self, shapes: Mapping[str, Sequence[int]] | None = None
  ) -> dict[str, Any]:
    """What a side says of itself, once all else is measured."""
    told = {"platform": self.device.type, "precision": self._precision}
    if shapes is not None:
      told["shapes"] = {name: list(shape) for name, shape in shapes.items()}
    if self.device.type == "cuda":
      told["device"] = torch.cuda.get_device_name()
      told["device_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    else:
      told["threads"] = torch.get_num_threads()
    return told | {"matmul_flops_per_second": self._measure_matmul()}

  def _measure_matmul(self) -> float:
    side = matmul.choose_side(self.device.type)
    matrix = torch.ones(side, side, device=self.device)
    if self._precision == "bfloat16":
      matrix = matrix.bfloat16()

    def multiply():
      torch.matmul(matrix, matrix)
      self.wait()

    return matmul.measure(multiply, side)
