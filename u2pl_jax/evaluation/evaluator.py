"""Evaluation over a dataset: integer confusion matrices, divided once."""

from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.evaluation import metrics, outputs
from u2pl_jax.runtime import sharding

CountPixels = Callable[
  [outputs.Variables, Mapping[str, jax.Array]], tuple[jax.Array, jax.Array]
]
OnBatch = Callable[[Mapping[str, np.ndarray], jax.Array], None]


def make_count_pixels(
  predict: outputs.Predict, num_classes: int, mesh: jax.sharding.Mesh
) -> CountPixels:
  """count(variables, batch) -> confusion matrix and predictions of a batch.

  A batch holds `image` uint8 [B, H, W, 3], `label` uint8 [B, H, W] and `mask`
  bool [B], false for what fills up a batch, which is not counted. The matrix is
  int32 [K, K], the predictions are uint8 [B, H, W].

  Args:
    predict: what `outputs.make_predict` returned, with "labels" among its
      outputs.
    num_classes: K.
    mesh: the mesh of all devices.
  """

  def count(variables, batch):
    predictions = predict(variables, batch["image"])["labels"]
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
  variables: outputs.Variables,
  batches: Iterable[Mapping[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
  on_batch: OnBatch | None = None,
) -> metrics.Scores:
  """Scores of a model over a whole set, each image counted once.

  Args:
    count_pixels: what `make_count_pixels` returned.
    variables: the variables of the student or the teacher.
    batches: this process's part of each batch, as many on every process.
    mesh: the mesh of all devices.
    on_batch: is called with each batch and its predictions, uint8 [B, H, W] on
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
    # Only the batch before is waited for, so that the devices are never idle
    # and never hold more than two.
    if running is not None:
      finish(*running)
    running = batch, *counted
  if running is None:
    raise ValueError("the validation set is empty")
  finish(*running)
  return metrics.compute_scores(total)
