"""Evaluation over a dataset: integer confusion matrices, divided once."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.evaluation import inference, metrics
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.ops import normalize, percentile
from u2pl_jax.runtime import sharding

Variables = Mapping[str, Any]
Predict = Callable[[Variables, jax.Array], tuple[jax.Array, jax.Array]]
CountPixels = Callable[
  [Variables, Mapping[str, jax.Array]], tuple[jax.Array, jax.Array]
]
OnBatch = Callable[[Mapping[str, np.ndarray], jax.Array], None]


def make_predict(model: nn.Module, protocol: protocol_lib.Protocol) -> Predict:
  """predict(variables, images) in eval mode at the images' size.

  Returns:
    A jitted function of variables and uint8 images [B, H, W, 3] that returns
    the predictions, uint8 [B, H, W], and their entropy, float32 [B, H, W],
    nats. Compiled once for each size.
  """

  def predict(variables, images):
    net = inference.make_net(model, variables)
    logits = protocol.compute_logits(net, normalize.normalize(images))
    labels = jnp.argmax(logits, axis=-1).astype(jnp.uint8)
    return labels, percentile.compute_entropy(logits)

  return jax.jit(predict)


def make_count_pixels(
  predict: Predict, num_classes: int, mesh: jax.sharding.Mesh
) -> CountPixels:
  """count(variables, batch) -> confusion matrix and predictions of a batch.

  A batch holds `image` uint8 [B, H, W, 3], `label` uint8 [B, H, W] and `mask`
  bool [B], false for what fills up a batch, which is not counted. The matrix is
  int32 [K, K], the predictions are uint8 [B, H, W].
  """

  def count(variables, batch):
    predictions, _ = predict(variables, batch["image"])
    labels = jnp.where(
      batch["mask"][:, None, None],
      batch["label"].astype(jnp.int32),
      IGNORE_LABEL,
    )
    confusion = metrics.confusion_matrix(
      labels, predictions.astype(jnp.int32), num_classes
    )
    return confusion, predictions

  return jax.jit(
    count, out_shardings=(sharding.replicate(mesh), sharding.split_batch(mesh))
  )


def evaluate(
  count_pixels: CountPixels,
  variables: Variables,
  batches: Iterable[Mapping[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
  on_batch: OnBatch | None = None,
) -> metrics.Scores:
  """Scores of a model over a whole set, each image counted once.

  Args:
    count_pixels: from `make_count_pixels`.
    variables: of the student or the teacher.
    batches: this process's part of each batch, as many on every process.
    mesh: of all devices.
    on_batch: called with each batch and its predictions, uint8 [B, H, W] on
      the devices, which are one batch ahead.

  Returns:
    `metrics.Scores`.

  Raises:
    ValueError: there is no batch.
  """
  total = 0

  def finish(batch, confusion, predictions):
    nonlocal total
    total = total + np.asarray(confusion, np.int64)
    if on_batch is not None:
      on_batch(batch, predictions)

  running = None
  for batch in batches:
    inputs = {name: batch[name] for name in ("image", "label", "mask")}
    counted = count_pixels(variables, sharding.to_global(inputs, mesh))
    # Only the batch before is waited for, so that the devices never are idle
    # and never hold more than two.
    if running is not None:
      finish(*running)
    running = batch, *counted
  if running is None:
    raise ValueError("the validation set is empty")
  finish(*running)
  return metrics.compute_scores(total)
