"""Entropy, masks, and the unsupervised loss with its gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import arrays
from benchmarks.ours import common
from u2pl_jax import IGNORE_LABEL
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods.u2pl import partition, settings
from u2pl_jax.ops import percentile
from u2pl_jax.runtime import flops


def make(settings: dict[str, Any]) -> "_Partition":
  """See `benchmark_worker`.

  Args:
    settings: config, nested; num_classes; num_present, classes in the labels;
      seed.
  """
  return _Partition(settings)


class _Partition:
  def __init__(self, given):
    semi = settings.SemiOptions.read(given["config"])
    inputs = arrays.make_partition(given)
    self.images = len(inputs["labels"])
    inputs["labels"] = inputs["labels"].astype("int32")
    self._inputs = {name: jnp.asarray(x) for name, x in inputs.items()}
    self._percents = (
      jnp.float32(semi.drop_percent), jnp.float32(semi.unreliable_percent)
    )  # fmt: skip

    def compute(percents, student, teacher, labels):
      split = partition.partition_by_entropy(
        percentile.compute_entropy(teacher),
        labels != IGNORE_LABEL,
        drop_percent=percents[0],
        unreliable_percent=percents[1],
        reliable=semi.reliable,
      )
      loss, gradient = jax.value_and_grad(pixelwise.unsupervised_loss)(
        student, labels, split.kept
      )
      return loss, gradient, split.reliable, split.unreliable

    self._compute, self._call = compute, jax.jit(compute)

  def run(self, calls: int) -> None:
    for _ in range(calls):
      results = self._call(self._percents, **self._inputs)
    jax.block_until_ready(results)

  def describe(self) -> dict[str, Any]:
    inputs = (self._inputs[name] for name in ("student", "teacher", "labels"))
    return common.describe(
      dtype="float32",
      flops=flops.count(self._compute, self._percents, *inputs),
      shapes=common.shapes_of(self._inputs),
    )
