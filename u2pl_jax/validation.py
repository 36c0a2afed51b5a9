"""Scores of a run's model on the validation set."""

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import tensorflow as tf
from clu import metric_writers
from etils import epath

from u2pl_jax import experiment
from u2pl_jax.evaluation import evaluator, metrics, outputs, visualize
from u2pl_jax.experiment import inputs
from u2pl_jax.runtime import progress, sharding
from u2pl_jax.runtime import workdir as workdir_lib
from u2pl_jax.training import train_state

_VERSIONED = (jax, flax, optax, ocp, tf, np)


class Evaluation:
  """Evaluates networks on the validation set, and writes what it found."""

  def __init__(
    self,
    exp: experiment.Experiment,
    show: Callable[[str], None],
    writer: metric_writers.MetricWriter | None = None,
  ):
    """Prepares; the network is compiled at the first evaluation.

    Args:
      exp: the experiment.
      show: receives a line with the scores.
      writer: of scores and pictures; None for none.
    """
    self._exp = exp
    self._show = show
    self._writer = writer
    self._batches = inputs.eval_batches(exp)
    predict = outputs.make_predict(
      exp.model, exp.protocol, ("labels", "entropy")
    )
    self._count_pixels = evaluator.make_count_pixels(
      predict, exp.dataset.num_classes, exp.mesh
    )
    self._predict_batch = jax.jit(
      predict, out_shardings=sharding.split_batch(exp.mesh)
    )

  def __call__(
    self,
    step: int,
    state: train_state.TrainState,
    network: str | None = None,
    on_batch: evaluator.OnBatch | None = None,
  ) -> metrics.Scores:
    """Scores of a network after `step` updates.

    Args:
      step: updates made.
      state: after them.
      network: "teacher" or "student"; None for the one that counts then.
      on_batch: see `evaluator.evaluate`.

    Raises:
      ValueError: there is no teacher.
    """
    network = network or self._exp.programs.phase_of_state(step).network
    variables = state.network(network)
    scores = self.measure(variables, f"step {step}: {network}", on_batch)
    if self._writer is not None:
      self._write(step, variables, scores)
    return scores

  def measure(
    self,
    variables: Any,
    title: str,
    on_batch: evaluator.OnBatch | None = None,
  ) -> metrics.Scores:
    """Scores of variables, wherever they are from.

    Args:
      variables: {"params", "batch_stats"} of the experiment's network.
      title: what the line with the scores begins with.
      on_batch: see `evaluator.evaluate`.
    """
    exp = self._exp
    scores = evaluator.evaluate(
      self._count_pixels,
      variables,
      self._batches,
      exp.mesh,
      _showing_progress(len(exp.dataset.ids["val"]), on_batch),
    )
    names = exp.dataset.class_names
    absent = ", ".join(names[index] for index in scores.absent)
    self._show(
      f"{title} mIoU {scores.miou:.2f} %, pixel accuracy"
      f" {scores.pixel_accuracy:.2f} % ({exp.protocol.name})"
      + (f" (absent: {absent})" if absent else "")
    )
    return scores

  def show_batch(
    self,
    step: int,
    state: train_state.TrainState,
    batch: Mapping[str, jax.Array],
  ) -> None:
    """Writes pictures of the last step's batch, if the method has any.

    Args:
      step: updates made.
      state: after them.
      batch: of the last one.
    """
    show = self._exp.programs.phase_of_state(step).method.show
    count = self._exp.eval.num_images
    if show is None or self._writer is None or count < 1:
      return
    rows = {name: sharding.local_rows(array) for name, array in batch.items()}
    pictures = show(state.memory, rows)[:count]
    self._writer.write_images(
      step, {f"batch/{i}": picture[None] for i, picture in enumerate(pictures)}
    )

  def _write(self, step: int, variables: Any, scores: metrics.Scores) -> None:
    protocol = self._exp.protocol.name
    named = zip(self._exp.dataset.class_names, scores.iou, strict=True)
    self._writer.write_scalars(
      step,
      {
        f"{protocol}/miou": scores.miou,
        f"{protocol}/pixel_accuracy": scores.pixel_accuracy,
      }
      | {f"{protocol}/iou/{name}": iou for name, iou in named if iou == iou},
    )
    self._write_pictures(step, variables)

  def _write_pictures(self, step: int, variables: Any) -> None:
    """The first images of the set, as far as process 0 reads them."""
    count = self._exp.eval.num_images
    if count < 1:
      return
    batch = next(iter(self._batches))
    images = sharding.to_global({"image": batch["image"]}, self._exp.mesh)
    found = self._predict_batch(variables, images["image"])
    predictions, entropy = (
      sharding.local_rows(found[name]) for name in ("labels", "entropy")
    )
    shown = np.flatnonzero(batch["mask"])[:count]
    taught = self._exp.programs.phase_of_state(step).method.taught
    rows = visualize.summary_rows(
      batch["image"][shown],
      batch["label"][shown],
      predictions[shown],
      entropy[shown],
      palette=self._exp.dataset.palette,
      taught=taught and taught(entropy[shown], max(step - 1, 0)),
    )
    name = self._exp.protocol.name
    self._writer.write_images(
      step, {f"{name}/{i}": row[None] for i, row in enumerate(rows)}
    )


def _showing_progress(
  num_images: int, on_batch: evaluator.OnBatch | None
) -> evaluator.OnBatch:
  """`on_batch` with a progress line, if it takes long in a single process."""
  done = progress.Progress("evaluating", num_images, patience=5.0)

  def call(batch, predictions):
    if jax.process_count() == 1:
      done.advance(np.count_nonzero(batch["mask"]))
    if on_batch is not None:
      on_batch(batch, predictions)

  return call


def make_result(
  exp: experiment.Experiment,
  step: int,
  network: str,
  scores: metrics.Scores,
  best: tuple[int, float] | None,
  best_protocol: str,
  so_far: Mapping[str, Any],
) -> dict[str, Any]:
  """What `result.json` holds; IoU figures in percent, null where absent.

  Args:
    exp: the experiment.
    step: updates made.
    network: "teacher" or "student".
    scores: its, after them.
    best: step and mIoU, percent, of the best checkpoint, if one has a mIoU.
    best_protocol: name of the protocol that it was measured by.
    so_far: progress of the run, with its "seconds" and "images_per_second".
  """

  def rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 3)

  names = exp.dataset.class_names
  speed = so_far["images_per_second"]
  images = exp.images_at_step(max(step - 1, 0))
  return {
    "step": step,
    "network": network,
    "protocol": exp.protocol.name,
    "evaluation": f"{exp.protocol.long_name}, {network} of step {step}",
    "miou": rounded(scores.miou),
    "iou": {
      name: rounded(iou) for name, iou in zip(names, scores.iou, strict=True)
    },
    "pixel_accuracy": rounded(scores.pixel_accuracy),
    "best_step": best and best[0],
    "best_miou": best and rounded(best[1]),
    "best_protocol": best_protocol,
    "seconds": rounded(so_far["seconds"]),
    "images_per_second": rounded(speed),
    "milliseconds_per_step": rounded(speed and 1000 * images / speed),
    "method": exp.run.method,
    "recipe": exp.run.recipe,
    "seed": exp.run.seed,
    "versions": {
      package.__name__: package.__version__ for package in _VERSIONED
    },
  }


def write_result(workdir: epath.Path, result: Mapping[str, Any]) -> None:
  """Writes `result.json`: the latest evaluation, and scores of all of them.

  Args:
    workdir: of the run.
    result: of `make_result`.

  Raises:
    OSError: it cannot be written.
  """
  path = workdir / "result.json"
  scores = {}
  with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
    scores = json.loads(path.read_text()).get("evaluations", {})
  protocol = result["protocol"]
  scores[result["evaluation"]] = {
    f"{protocol}/{key}": result[key]
    for key in ("miou", "iou", "pixel_accuracy")
  }
  workdir_lib.write_json(path, {**result, "evaluations": scores})
