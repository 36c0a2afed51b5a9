"""Scores of a run's model on the validation set."""

import math
from collections.abc import Callable
from typing import Any

import flax
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import tensorflow as tf
from clu import metric_writers

from u2pl_jax import (
  evaluator,
  experiment,
  metrics,
  schedules,
  train_state,
  visualize,
)

PROTOCOL = "crop"
_VERSIONED = (jax, flax, optax, ocp, tf, np)


class Evaluation:
  """Evaluates a state over the validation set, and writes what it found."""

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
    self._batches = experiment.eval_batches(exp)
    self._predict = evaluator.make_predict(exp.model)
    self._count_pixels = evaluator.make_count_pixels(
      self._predict, exp.dataset.num_classes, exp.mesh
    )

  def __call__(
    self, step: int, state: train_state.TrainState
  ) -> metrics.Scores:
    """Scores of the model that counts after `step` updates."""
    is_teacher = self._exp.teacher_is_evaluated(step)
    variables = (
      state.teacher_variables if is_teacher else state.student_variables
    )
    scores = evaluator.evaluate(
      self._count_pixels, variables, self._batches, self._exp.mesh
    )
    names = self._exp.dataset.class_names
    absent = ", ".join(names[index] for index in scores.absent)
    self._show(
      f"step {step}: {'teacher' if is_teacher else 'student'} mIoU"
      f" {scores.miou:.2f} %, pixel accuracy {scores.pixel_accuracy:.2f} %"
      + (f" (absent: {absent})" if absent else "")
    )
    if self._writer is not None:
      self._write(step, variables, scores)
    return scores

  def _write(self, step: int, variables: Any, scores: metrics.Scores) -> None:
    named = zip(self._exp.dataset.class_names, scores.iou, strict=True)
    self._writer.write_scalars(
      step,
      {
        f"{PROTOCOL}/miou": scores.miou,
        f"{PROTOCOL}/pixel_accuracy": scores.pixel_accuracy,
      }
      | {f"{PROTOCOL}/iou/{name}": iou for name, iou in named if iou == iou},
    )
    count = self._exp.config.eval.num_images
    if count < 1 or jax.process_count() > 1:
      return
    batch = next(iter(self._batches))
    images, labels = batch["image"][:count], batch["label"][:count]
    predictions, entropy = jax.device_get(self._predict(variables, images))
    percent = schedules.drop_percent(
      float(self._exp.timeline.progress(step - 1)),
      self._exp.config.semi.drop_percent,
    )
    rows = visualize.summary_rows(
      images,
      labels,
      predictions,
      entropy,
      palette=self._exp.dataset.palette,
      drop_percent=percent,
    )
    self._writer.write_images(
      step, {f"{PROTOCOL}/{i}": row[None] for i, row in enumerate(rows)}
    )


def make_result(
  exp: experiment.Experiment,
  step: int,
  scores: metrics.Scores,
  best_miou: float | None,
  progress: dict[str, Any],
) -> dict[str, Any]:
  """What `result.json` holds; IoU figures in percent, null where absent.

  Args:
    exp: the experiment.
    step: updates made.
    scores: after them.
    best_miou: of all checkpoints, percent; None without an evaluated one.
    progress: of the run, with its "seconds" and "images_per_second".
  """

  def rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 3)

  config = exp.config
  names = exp.dataset.class_names
  return {
    "step": step,
    "protocol": PROTOCOL,
    "miou": rounded(scores.miou),
    "iou": {
      name: rounded(iou) for name, iou in zip(names, scores.iou, strict=True)
    },
    "pixel_accuracy": rounded(scores.pixel_accuracy),
    "best_miou": rounded(best_miou),
    "seconds": rounded(progress["seconds"]),
    "images_per_second": rounded(progress["images_per_second"]),
    "method": config.method,
    "recipe": config.recipe,
    "seed": config.seed,
    "versions": {
      package.__name__: package.__version__ for package in _VERSIONED
    },
  }
