"""The training loop, and evaluation of what it saved."""

import math
import time
from collections.abc import Iterator
from typing import Any

import flax
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import tensorflow as tf
from clu import metric_writers
from etils import epath
from ml_collections import config_dict

from u2pl_jax import (
  checkpoint,
  evaluator,
  experiment,
  metrics,
  optim,
  schedules,
  sharding,
  step_log,
  train_state,
  visualize,
)
from u2pl_jax import (
  workdir as workdir_lib,
)

PROTOCOL = "crop"
_VERSIONED = (jax, flax, optax, ocp, tf, np)


def show(line: str) -> None:
  """Prints a line of progress, once for all processes."""
  if jax.process_index() == 0:
    print(line, flush=True)


class Evaluation:
  """Evaluates a state over the validation set, and writes what it found."""

  def __init__(
    self,
    exp: experiment.Experiment,
    writer: metric_writers.MetricWriter | None = None,
  ):
    """Prepares; the network is compiled at the first evaluation.

    Args:
      exp: the experiment.
      writer: of scores and pictures; None for none.
    """
    self._exp = exp
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
    show(
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


def _result(
  exp: experiment.Experiment,
  step: int,
  scores: metrics.Scores,
  best_miou: float | None,
  progress: dict[str, Any],
) -> dict[str, Any]:
  """What `result.json` holds; IoU figures in percent, null where absent."""

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


def _prefetch(
  batches: Iterator[dict[str, np.ndarray]], mesh: jax.sharding.Mesh
) -> Iterator[dict[str, jax.Array]]:
  """Puts a batch on the devices while the one before it is used."""
  ahead = sharding.to_global(next(batches), mesh)
  for batch in batches:
    current, ahead = ahead, sharding.to_global(batch, mesh)
    yield current


def train_and_evaluate(
  config: config_dict.ConfigDict, workdir: epath.PathLike
) -> dict[str, Any]:
  """Trains to the end, or resumes; evaluates, saves, and writes the result.

  Args:
    config: of the run; every key counts.
    workdir: made if absent; a run of the same config in it is resumed.

  Returns:
    What `result.json` holds.

  Raises:
    ValueError, OSError: one line that names the key, file or value at fault.
    FloatingPointError: a loss or the gradient is not finite.
  """
  workdir = epath.Path(workdir)
  exp = experiment.create_experiment(config)
  if not (workdir / "config.json").exists():
    _announce_start(exp)  # Raises before anything is written.
  if jax.process_index() == 0:
    workdir_lib.claim(workdir, config.to_dict())
  manager = checkpoint.create_manager(
    workdir / "checkpoints", keep_last=config.checkpoint.keep_last
  )
  with manager:
    run = _Run(exp, workdir, manager)
    try:
      result = run.train()
    except FloatingPointError as error:
      manager.wait_until_finished()
      last = manager.latest_step()
      kept = "no checkpoint yet" if last is None else f"step {last}"
      raise FloatingPointError(
        f"{error}; training stopped, last good checkpoint in {workdir}: {kept}"
      ) from None
  if jax.process_index() == 0:
    workdir_lib.write_json(workdir / "result.json", result)
  return result


def _announce_start(exp: experiment.Experiment) -> None:
  """Says what a new run starts from."""
  weights = experiment.load_pretrained(exp)
  if weights is None:
    show("starting from random weights (model.pretrained names no file)")
    return
  parts = ", ".join(weights.parts)
  left_out = ", ".join(weights.left_out)
  show(
    f"starting from {exp.config.model.pretrained}: {parts}"
    + (f" (not in this network: {left_out})" if left_out else "")
  )


class _Run:
  """One process's part in a training run."""

  def __init__(
    self,
    exp: experiment.Experiment,
    workdir: epath.Path,
    manager: ocp.CheckpointManager,
  ):
    self._exp = exp
    self._manager = manager
    self._writer = metric_writers.AsyncMultiWriter(
      [metric_writers.SummaryWriter(str(workdir))]
      if jax.process_index() == 0
      else []
    )
    self._evaluation = Evaluation(exp, self._writer)
    optimizer = exp.config.optim
    self._log = step_log.StepLog(
      self._writer,
      total_steps=exp.timeline.total_steps,
      learning_rates={
        group: optim.poly_schedule(
          optimizer.learning_rate * factor,
          exp.timeline.total_steps,
          optimizer.power,
        )
        for group, factor in (("encoder", 1.0), ("head", optimizer.head_factor))
      },
      class_names=exp.dataset.class_names,
      show=show,
    )

  def _start(self) -> tuple[int, train_state.TrainState]:
    """The state to go on from; also sets the clock of the whole run."""
    self._started = time.monotonic()
    latest = self._manager.latest_step()
    if latest is None:
      return 0, experiment.create_state(self._exp)
    state, progress = checkpoint.restore(
      self._manager, latest, experiment.abstract_state(self._exp)
    )
    self._started -= progress["seconds"]
    show(f"resuming at step {latest}")
    return latest, state

  def _progress(self, step: int) -> dict[str, Any]:
    """Where the run is; stands beside the state in each checkpoint."""
    data = self._exp.config.data
    speed = self._log.images_per_second
    return {
      "step": step,
      "epoch": step // self._exp.timeline.steps_per_epoch,
      "labeled_images": step * data.batch_size_l,
      "unlabeled_images": step * data.batch_size_u if self._exp.is_semi else 0,
      "seconds": time.monotonic() - self._started,
      "images_per_second": None if math.isnan(speed) else speed,
    }

  def _save(
    self,
    step: int,
    state: train_state.TrainState,
    scores: metrics.Scores | None = None,
  ) -> None:
    miou = None
    if scores is not None and not math.isnan(scores.miou):
      miou = scores.miou
    checkpoint.save(self._manager, step, state, self._progress(step), miou)

  def train(self) -> dict[str, Any]:
    """Runs the remaining steps and returns the result."""
    exp, config = self._exp, self._exp.config
    total_steps = exp.timeline.total_steps
    eval_every = exp.timeline.steps_per_epoch * config.eval.every_epochs
    save_every = config.checkpoint.every_steps
    start_step, state = self._start()
    scores = None
    with metric_writers.ensure_flushes(self._writer):
      if start_step < total_steps:
        self._announce(start_step)
        step_fn = experiment.create_train_step(exp)
        batches = _prefetch(experiment.train_batches(exp, start_step), exp.mesh)
      for step in range(start_step + 1, total_steps + 1):
        images = exp.images_at_step(step - 1)
        state, step_metrics = step_fn(step - 1, state, next(batches))
        self._log.add(step, step_metrics, images)
        is_last = step == total_steps
        evaluates = is_last or step % eval_every == 0
        saves = evaluates or (save_every and step % save_every == 0)
        if saves or step % config.train.log_every_steps == 0:
          self._log.flush()
        if evaluates:
          scores = self._evaluation(step, state)
        if saves:
          self._save(step, state, scores if evaluates else None)
          self._log.restart_clock()
      if scores is None:
        scores = self._evaluation(total_steps, state)
    self._manager.wait_until_finished()
    return _result(
      exp,
      total_steps,
      scores,
      checkpoint.best_miou(self._manager),
      self._progress(total_steps),
    )

  def _announce(self, start_step: int) -> None:
    exp, split = self._exp, self._exp.split
    show(
      f"{exp.config.method}, recipe {exp.config.recipe}: {exp.dataset.name}"
      f" with {len(split.labeled)} labelled and {len(split.unlabeled)}"
      f" unlabelled images, {exp.timeline.num_epochs} epochs of"
      f" {exp.timeline.steps_per_epoch} steps on {exp.mesh.size}"
      f" {jax.default_backend()} device(s)"
    )
    show(f"compiling the step at step {start_step} ...")


def evaluate(
  config: config_dict.ConfigDict, workdir: epath.PathLike, which: str
) -> dict[str, Any]:
  """Evaluates a checkpoint of a run and writes the result.

  Args:
    config: of the run.
    workdir: of the run.
    which: "best" or "last".

  Returns:
    What `result.json` holds.

  Raises:
    ValueError, OSError: one line that names the key, file or value at fault.
  """
  workdir = epath.Path(workdir)
  workdir_lib.check_same_config(workdir, config.to_dict())
  exp = experiment.create_experiment(config)
  manager = checkpoint.create_manager(
    workdir / "checkpoints",
    keep_last=config.checkpoint.keep_last,
    read_only=True,
  )
  with manager:
    steps = {"best": manager.best_step, "last": manager.latest_step}
    step = steps[which]()
    if step is None:
      raise FileNotFoundError(
        f"{workdir}/checkpoints holds no {which} checkpoint"
      )
    state, progress = checkpoint.restore(
      manager, step, experiment.abstract_state(exp)
    )
    scores = Evaluation(exp)(step, state)
    result = _result(exp, step, scores, checkpoint.best_miou(manager), progress)
  if jax.process_index() == 0:
    workdir_lib.write_json(workdir / "result.json", result)
  return result
