"""The training loop."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from clu import asynclib, metric_writers
from etils import epath

from u2pl_jax import experiment, validation
from u2pl_jax.evaluation import metrics
from u2pl_jax.experiment import inputs, states, weights
from u2pl_jax.runtime import (
  checkpoint,
  damage,
  distributed,
  preemption,
  profiling,
)
from u2pl_jax.runtime import workdir as workdir_lib
from u2pl_jax.training import bad_steps, feed, step_log, train_state, writers


def train_and_evaluate(
  config: Mapping[str, Any],
  workdir: epath.PathLike,
  *,
  profile_steps: tuple[int, int] | None = None,
) -> dict[str, Any] | None:
  """Trains to the end, or resumes; evaluates, saves, and writes the result.

  SIGTERM or Ctrl-C ends it between two steps, after a checkpoint and a line
  that says how to go on; see `preemption`.

  Args:
    config: of the run; every key counts.
    workdir: made if absent; a run of the same config in it is resumed.
    profile_steps: (START, STOP) for a trace of the updates START+1 to STOP in
      WORKDIR/profile.

  Returns:
    What `result.json` holds; None if the run was ended before.

  Raises:
    ValueError: one line that names the key, file or value at fault.
    OSError: one line; a file cannot be read or written.
    FloatingPointError: one line; too many steps in a row had a loss or a
      gradient that is not finite. WORKDIR/bad_steps.json tells which.
  """
  workdir = epath.Path(workdir)
  with preemption.catch_signals() as stop, contextlib.ExitStack() as stack:
    exp = experiment.create_experiment(config)
    if not workdir_lib.holds_checkpoint(workdir):
      _announce_start(exp)  # Raises before anything is written.
    if jax.process_index() == 0:
      stack.enter_context(workdir_lib.lock(workdir))
      workdir_lib.claim(
        workdir,
        config,
        exp.dataset.class_names,
        exp.dataset.palette,
      )
    folder = workdir / "checkpoints"
    damage.set_aside(folder, distributed.show)
    with checkpoint.open_manager(
      folder, keep_last=exp.checkpoint.keep_last
    ) as manager:
      run = _Run(exp, workdir, manager, stop, profile_steps)
      with _naming_the_last_checkpoint(manager):
        result = run.train()
    if result is not None and jax.process_index() == 0:
      validation.write_result(workdir, result)
  return result


@contextlib.contextmanager
def _naming_the_last_checkpoint(
  manager: ocp.CheckpointManager,
) -> Iterator[None]:
  """Has errors that end a run say, in one line, what is left of it."""
  try:
    yield
  except (FloatingPointError, OSError, asynclib.AsyncError) as error:
    with contextlib.suppress(OSError):
      checkpoint.wait(manager)
    last = manager.latest_step()
    kept = "no checkpoint yet" if last is None else f"step {last}"
    message = (
      f"{damage.first_line(error)}; training stopped, last good checkpoint in"
      f" {manager.directory}: {kept}"
    )
    if isinstance(error, FloatingPointError):
      raise FloatingPointError(message) from error
    raise OSError(f"{message}; the same command goes on from there") from error


def _announce_start(exp: experiment.Experiment) -> None:
  """Says what a new run starts from."""
  loaded = weights.load_pretrained(exp)
  if loaded is None:
    distributed.show(
      "starting from random weights (model.pretrained names no file)"
    )
    return
  path, parts = exp.weights_file, ", ".join(loaded.parts)
  left_out = ", ".join(loaded.left_out)
  distributed.show(
    f"starting from {path}: {parts}"
    + (f" (not in this network: {left_out})" if left_out else "")
  )


class _Run:
  """One process's part in a training run."""

  def __init__(
    self,
    exp: experiment.Experiment,
    workdir: epath.Path,
    manager: ocp.CheckpointManager,
    stop: preemption.Stop,
    profile_steps: tuple[int, int] | None,
  ):
    self._exp = exp
    self._workdir = workdir
    self._manager = manager
    self._stop = stop
    self._profile_steps = profile_steps
    self._writer = metric_writers.AsyncMultiWriter(
      writers.create(exp.config, workdir, distributed.show)
      if jax.process_index() == 0
      else []
    )
    self._evaluation = validation.Evaluation(
      exp, distributed.show, self._writer
    )

  def _start(self) -> tuple[int, train_state.TrainState]:
    """The state to go on from; also sets the clock of the whole run."""
    self._started = time.monotonic()
    latest = self._manager.latest_step()
    self._stop.is_saved = latest is not None
    self._speed_before = None
    if latest is None:
      self._start_log([])
      return 0, states.create_state(self._exp)
    state, saved = states.restore_state(self._exp, self._manager, latest)
    self._started -= saved["seconds"]
    self._speed_before = saved["images_per_second"]
    self._start_log(saved["bad_steps"])
    distributed.show(f"resuming at step {latest}")
    return latest, state

  def _start_log(self, records: Sequence[bad_steps.Record]) -> None:
    exp = self._exp
    self._bad_steps = bad_steps.BadSteps(exp.train.max_bad_steps, records)
    self._log = step_log.StepLog(
      self._writer,
      total_steps=exp.timeline.total_steps,
      learning_rates=experiment.learning_rates(exp),
      class_names=exp.dataset.class_names,
      bad_steps=self._bad_steps,
      show=distributed.show,
    )

  def _progress(self, step: int) -> dict[str, Any]:
    """Where the run is; stands beside the state in each checkpoint."""
    exp, data = self._exp, self._exp.data
    phase = exp.programs.phase_of_state(step)
    speed = self._log.images_per_second
    if math.isnan(speed):  # No step was made since the start.
      speed = self._speed_before
    return {
      "step": step,
      "phase": phase.name,
      "network": phase.network,
      "epoch": step // exp.timeline.steps_per_epoch,
      "labeled_images": step * data.batch_size_l,
      "unlabeled_images": step * data.batch_size_u * exp.uses_unlabeled,
      "seconds": time.monotonic() - self._started,
      "images_per_second": speed,
      "data": exp.fingerprint,
      "bad_steps": self._bad_steps.records,
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
    checkpoint.wait(self._manager)  # Then the one before is whole.
    self._stop.is_saved = self._manager.latest_step() is not None
    checkpoint.save(self._manager, step, state, self._progress(step), miou)

  def train(self) -> dict[str, Any] | None:
    """Runs the remaining steps; returns the result, or None if ended before."""
    exp, total_steps = self._exp, self._exp.timeline.total_steps
    start_step, state = self._start()
    trace = profiling.StepTrace(
      self._workdir / "profile",
      self._profile_steps,
      run=range(start_step + 1, total_steps + 1),
      show=distributed.show,
    )
    scores = None
    with contextlib.closing(self._writer), contextlib.closing(trace):
      if start_step < total_steps:
        try:
          step, state, scores = self._run_steps(start_step, state, trace)
          if step < total_steps:
            self._end_early(step, state)
            return None
        except FloatingPointError as error:
          report = self._report_bad_steps()
          raise FloatingPointError(f"{error}; see {report}") from None
      if scores is None:
        scores = self._evaluate(total_steps, state)
    self._stop.doing = "the end of the run"
    checkpoint.wait(self._manager)
    return validation.make_result(
      exp,
      total_steps,
      exp.programs.phase_of_state(total_steps).network,
      scores,
      checkpoint.find_best(self._manager),
      exp.protocol.name,
      self._progress(total_steps),
    )

  def _run_steps(
    self,
    start_step: int,
    state: train_state.TrainState,
    trace: profiling.StepTrace,
  ) -> tuple[int, train_state.TrainState, metrics.Scores | None]:
    """Updates made, the state then, and its scores if it was evaluated."""
    exp = self._exp
    total_steps = exp.timeline.total_steps
    eval_every = exp.timeline.steps_per_epoch * exp.eval.every_epochs
    save_every = exp.checkpoint.every_steps
    self._announce(start_step)
    step_fn = exp.programs.create_train_step()
    batches = feed.Feed(
      inputs.train_batches(exp, start_step), exp.programs, start_step, state
    )
    for step in range(start_step + 1, total_steps + 1):
      if self._stop():
        return step - 1, state, None
      trace.before(step)
      batch = batches.take()
      state, step_metrics = step_fn(step - 1, state, batch)
      batches.follow(state)
      trace.after(step, step_metrics)
      self._stop.has_news = True
      self._log.add(step, step_metrics, exp.images_at_step(step - 1))
      evaluates = step == total_steps or step % eval_every == 0
      saves = evaluates or (save_every and step % save_every == 0)
      if saves or step % exp.train.log_every_steps == 0:
        self._log.flush()
      scores = None
      if evaluates:
        self._evaluation.show_batch(step, state, batch)
        scores = self._evaluate(step, state)
      if saves:
        self._save(step, state, scores)
        self._log.restart_clock()
    return total_steps, state, scores

  def _evaluate(
    self, step: int, state: train_state.TrainState
  ) -> metrics.Scores:
    self._stop.doing = "this evaluation"
    scores = self._evaluation(step, state)
    self._stop.doing = "this step"
    return scores

  def _end_early(self, step: int, state: train_state.TrainState) -> None:
    self._log.flush()
    self._save(step, state)
    checkpoint.wait(self._manager)
    distributed.show(
      f"stopped by {self._stop.cause} at step {step} of"
      f" {self._exp.timeline.total_steps}, saved in {self._workdir}; the same"
      " command goes on from there"
    )

  def _report_bad_steps(self) -> epath.Path:
    """Writes what there is to know about the bad steps at the end."""
    exp = self._exp
    steps = [
      record | self._ids_at(record["step"] - 1)
      for record in self._bad_steps.records
    ]
    path = self._workdir / "bad_steps.json"
    if jax.process_index() == 0:
      report = {"config": exp.config, "steps": steps}
      workdir_lib.write_json(path, report)
    return path

  def _ids_at(self, index: int) -> dict[str, list[str]]:
    """The ids of the images that an update was trained on."""
    exp = self._exp
    ids = inputs.ids_at_step(exp, index)
    if not exp.unlabeled_at_step(index):
      ids.pop("unlabeled", None)
    return ids

  def _announce(self, start_step: int) -> None:
    exp, split = self._exp, self._exp.split
    distributed.show(
      f"{exp.run.method}, recipe {exp.run.recipe}: {exp.dataset.name}"
      f" with {len(split.labeled)} labeled and {len(split.unlabeled)}"
      f" unlabeled images, {exp.timeline.num_epochs} epochs of"
      f" {exp.timeline.steps_per_epoch} steps on {exp.mesh.size}"
      f" {jax.default_backend()} device(s)"
    )
    for kind, size, records in (
      ("labeled", exp.data.batch_size_l, split.labeled),
      ("unlabeled", exp.data.batch_size_u, split.unlabeled),
    ):
      if size > len(records):
        distributed.show(
          f"{kind} images: {len(records)}, repeated to fill a batch of {size}"
        )
    distributed.show(f"compiling the step at step {start_step} ...")
