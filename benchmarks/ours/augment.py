"""Strong augmentation: a batch mixed or cut."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import arrays
from benchmarks.ours import common
from u2pl_jax.methods.u2pl import settings
from u2pl_jax.ops import mixing


def make(settings: dict[str, Any]) -> "_Augment":
  """See `benchmark_worker`.

  Args:
    settings: config, nested; num_classes; num_present, classes in the labels;
      seed.
  """
  return _Augment(settings)


class _Augment:
  def __init__(self, given):
    mode = settings.AugmentOptions.read(given["config"]).mode
    inputs = arrays.make_augment(given)
    self.images = len(inputs["images"])
    self._inputs = {name: jnp.asarray(x) for name, x in inputs.items()}
    self._key, self._calls = jax.random.key(given["seed"]), 0
    num_classes = given["num_classes"]

    @jax.jit
    def call(key, images, labels):
      return mixing.strong_augment(
        key,
        images,
        labels,
        mode=mode,
        probability=1.0,
        num_classes=num_classes,
      )

    self._call = call

  def run(self, calls: int) -> None:
    for _ in range(calls):
      key = jax.random.fold_in(self._key, self._calls)
      mixed = self._call(key, **self._inputs)
      self._calls += 1
    jax.block_until_ready(mixed)

  def describe(self) -> dict[str, Any]:
    return common.describe(
      dtype="float32", flops=0, shapes=common.shapes_of(self._inputs)
    )
