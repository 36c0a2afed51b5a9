"""Classes of large images by sliding windows, as evaluation computes them."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import arrays
from benchmarks.ours import common
from u2pl_jax.evaluation import options, outputs, protocol
from u2pl_jax.models import network
from u2pl_jax.runtime import flops


def make(settings: dict[str, Any]) -> "_Eval":
  """See `benchmark_worker`.

  Args:
    settings: config, nested; num_classes; batch_size; image_size, (H, W);
      seed.
  """
  return _Eval(settings)


class _Eval:
  def __init__(self, settings):
    config = settings["config"]
    window = options.EvalOptions.read(config).crop_size
    model = network.create(config, settings["num_classes"])
    self._dtype = network.ModelOptions.read(config).dtype
    key = jax.random.key(settings["seed"])
    self._variables = jax.jit(model.init_variables)(key)
    self._images = jnp.asarray(arrays.make_eval(settings))
    self.images = len(self._images)
    self._predict = outputs.make_predict(
      model, protocol.Protocol("slide", window), ("labels",)
    )

  def run(self, calls: int) -> None:
    for _ in range(calls):
      labels = self._predict(self._variables, self._images)
    jax.block_until_ready(labels)

  def describe(self) -> dict[str, Any]:
    return common.describe(
      dtype=self._dtype,
      flops=flops.count(self._predict, self._variables, self._images),
      shapes={"images": self._images.shape},
    )
