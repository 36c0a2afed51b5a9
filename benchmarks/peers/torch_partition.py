"""Partition and unsupervised loss in PyTorch, with its gradient."""

from typing import Any

import numpy as np

from benchmarks import arrays
from benchmarks.peers import torch_common, torch_losses


def make(settings: dict[str, Any]) -> "_Partition":
  """See `u2pl_jax.tools.benchmark_worker`.

  Args:
    settings: those of `benchmarks.ours.partition`, format and precision.
  """
  return _Partition(settings)


class _Partition:
  def __init__(self, settings):
    self._setting = torch_common.Setting(settings)
    self._semi = settings["config"]["semi"]
    given = arrays.make_partition(settings)
    self.images = len(given["labels"])
    self._student = self._setting.place(given["student"]).requires_grad_()
    self._teacher = self._setting.place(given["teacher"])
    self._labels = self._setting.place(given["labels"].astype(np.int64))

  def run(self, calls: int) -> None:
    semi = self._semi
    for _ in range(calls):
      self._student.grad = None
      loss = torch_losses.unsupervised_loss(
        self._student, self._labels, self._teacher, semi["drop_percent"]
      )
      torch_losses.partition(
        self._teacher,
        self._labels,
        semi["unreliable_percent"],
        semi["reliable"],
      )
      loss.backward()
    self._setting.wait()

  def describe(self) -> dict[str, Any]:
    return self._setting.describe({"student": self._student.shape})
