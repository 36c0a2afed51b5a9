"""The contrastive loss: new keys, draws, value and gradient."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import arrays
from benchmarks.ours import banks, common
from u2pl_jax.methods.u2pl import contrast, selection
from u2pl_jax.ops import interleave
from u2pl_jax.runtime import flops

INPUTS = ("rep", "probs", "rep_teacher")


def make(settings: dict[str, Any]) -> "_Contrast":
  """See `benchmark_worker`.

  Args:
    settings: config, nested; num_classes; banks, "full" or "empty";
      num_present, classes in the labels; seed.
  """
  return _Contrast(settings)


def compute(
  key: jax.Array,
  bank: Any,
  rep: jax.Array,
  probs: jax.Array,
  rep_teacher: jax.Array,
  pixels: contrast.Pixels,
  *,
  options: contrast.ContrastOptions,
) -> tuple[Any, jax.Array, jax.Array]:
  """The bank with new keys, the loss, and its gradient by `rep`."""
  bank, plan, _ = contrast.prepare(
    key, bank, probs, rep_teacher, pixels, options
  )
  loss, gradient = jax.value_and_grad(contrast.compute_loss)(rep, plan, options)
  return bank, loss, gradient


class _Contrast:
  def __init__(self, settings):
    config, num_classes = settings["config"], settings["num_classes"]
    self._options = contrast.ContrastOptions.read(config)
    given = arrays.make_contrast(settings)
    num_labeled = config["data"]["batch_size_l"]

    def place(array):
      halves = array[:num_labeled], array[num_labeled:]
      return interleave.join(*map(jnp.asarray, halves))

    self.images = len(given["labels"])
    self._inputs = [place(given[name]) for name in INPUTS]
    self._pixels = _make_pixels(
      given, num_labeled, num_classes, self._options.label_stack, place
    )
    self._bank = self._options.create_bank(
      num_classes, given["rep"].shape[-1], pushes=1
    )
    if settings["banks"] == "full":
      self._bank = banks.fill(self._bank, settings["seed"])
    self._compute = functools.partial(compute, options=self._options)
    self._call = jax.jit(self._compute, donate_argnums=1)
    self._key, self._calls = jax.random.key(settings["seed"]), 0

  def run(self, calls: int) -> None:
    for _ in range(calls):
      key = jax.random.fold_in(self._key, self._calls)
      self._bank, loss, gradient = self._call(
        key, self._bank, *self._inputs, self._pixels
      )
      self._calls += 1
    jax.block_until_ready((self._bank, loss, gradient))

  def describe(self) -> dict[str, Any]:
    count = flops.count(
      self._compute, self._key, self._bank, *self._inputs, self._pixels
    )
    shapes = common.shapes_of(dict(zip(INPUTS, self._inputs, strict=True)))
    shapes["keys"] = self._bank.keys.shape
    return common.describe(dtype="float32", flops=count, shapes=shapes)


def _make_pixels(given, num_labeled, num_classes, label_stack, place):
  labels = jnp.asarray(given["labels"], jnp.int32)
  is_class = [
    selection.class_membership(part, num_classes, label_stack)
    for part in (labels[:num_labeled], labels[num_labeled:])
  ]
  shape = (len(labels), labels[0].size)
  is_labeled = np.arange(len(labels))[:, None] < num_labeled
  return contrast.Pixels(
    is_class=place(jnp.concatenate(is_class).reshape(*shape, num_classes)),
    is_labeled=place(np.broadcast_to(is_labeled, shape)),
    reliable=place(given["reliable"].reshape(shape)),
    unreliable=place(given["unreliable"].reshape(shape)),
  )
