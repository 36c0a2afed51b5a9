"""Evaluation over a dataset: integer confusion matrices, divided once."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from u2pl_jax import (
  IGNORE_LABEL,
  augment,
  inference,
  metrics,
  partition,
  sharding,
)

Variables = Mapping[str, Any]
Predict = Callable[[Variables, jax.Array], tuple[jax.Array, jax.Array]]
CountPixels = Callable[[Variables, Mapping[str, jax.Array]], jax.Array]


def make_predict(model: nn.Module) -> Predict:
  """predict(variables, images) in eval mode at the images' size.

  Returns:
    A jitted function of variables and uint8 images [B, H, W, 3] that returns
    the predictions, int32 [B, H, W], and their entropy, float32 [B, H, W],
    nats.
  """

  def predict(variables, images):
    logits = inference.make_net(model, variables)(augment.normalize(images))
    labels = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return labels, partition.compute_entropy(logits)

  return jax.jit(predict)


def make_count_pixels(
  predict: Predict, num_classes: int, mesh: jax.sharding.Mesh
) -> CountPixels:
  """count(variables, batch) -> the batch's confusion matrix, int32 [K, K].

  A batch holds `image` uint8 [B, H, W, 3], `label` uint8 [B, H, W] and `mask`
  bool [B], false for the padding of the last batch, which is not counted.
  """

  def count(variables, batch):
    predictions, _ = predict(variables, batch["image"])
    labels = jnp.where(
      batch["mask"][:, None, None],
      batch["label"].astype(jnp.int32),
      IGNORE_LABEL,
    )
    return metrics.confusion_matrix(labels, predictions, num_classes)

  return jax.jit(count, out_shardings=sharding.replicate(mesh))


def evaluate(
  count_pixels: CountPixels,
  variables: Variables,
  batches: Iterable[Mapping[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
) -> metrics.Scores:
  """Scores of a model over a whole set, each image counted once.

  Args:
    count_pixels: from `make_count_pixels`.
    variables: of the student or the teacher.
    batches: this process's part of each batch, as many on every process.
    mesh: of all devices.

  Returns:
    `metrics.Scores`.

  Raises:
    ValueError: there is no batch.
  """
  counts = [
    count_pixels(variables, sharding.to_global(batch, mesh))
    for batch in batches
  ]
  if not counts:
    raise ValueError("the validation set is empty")
  total = np.sum(jax.device_get(counts), axis=0, dtype=np.int64)
  return metrics.compute_scores(total)
