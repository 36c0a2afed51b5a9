"""The state of a run: at its start, and as a checkpoint holds it."""

from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from etils import epath

from u2pl_jax import experiment
from u2pl_jax.experiment import weights
from u2pl_jax.methods import method as method_lib
from u2pl_jax.runtime import checkpoint
from u2pl_jax.training import train_state


class Saved(NamedTuple):
  """What a checkpoint holds.

  Attributes:
    step: updates made.
    phase: that the state belongs to.
    state: after these updates, on the devices of the experiment.
    progress: of the run then; see `checkpoint`.
    best: step and mIoU, percent, of the best checkpoint, if one has a mIoU.
  """

  step: int
  phase: method_lib.Phase
  state: train_state.TrainState
  progress: dict[str, Any]
  best: tuple[int, float] | None


def create_state(exp: experiment.Experiment) -> train_state.TrainState:
  """The state at step 0, from the file of weights if there is one.

  Raises:
    ValueError, FileNotFoundError: see `weights.load_pretrained`.
  """
  state = exp.programs.create_state()
  loaded = weights.load_pretrained(exp)
  if loaded is not None:
    state = train_state.start_from(state, loaded.variables)
    if loaded.remembered:
      state = exp.programs.adopt(state, loaded.remembered)
  return state


def restore_state(
  exp: experiment.Experiment, manager: ocp.CheckpointManager, step: int
) -> tuple[train_state.TrainState, dict[str, Any]]:
  """The state of a checkpoint, and the progress of the run then.

  Args:
    exp: the run.
    manager: of its checkpoints.
    step: one of `manager.all_steps()`.

  Raises:
    ValueError: one line; see `checkpoint.restore`.
  """
  phase = exp.programs.phase_of_state(step)
  return checkpoint.restore(
    manager, step, exp.programs.abstract_state(phase), exp.fingerprint
  )


def read_checkpoint(
  exp: experiment.Experiment, workdir: epath.Path, which: str
) -> Saved:
  """What a checkpoint of a run holds; nothing is written.

  Args:
    exp: the run.
    workdir: its folder.
    which: "best" or "last".

  Raises:
    FileNotFoundError: there is no such checkpoint; one line.
    ValueError: it is damaged, or of another network or data; one line.
  """
  with checkpoint.open_manager(
    workdir / "checkpoints",
    keep_last=exp.checkpoint.keep_last,
    read_only=True,
  ) as manager:
    step = checkpoint.find_step(manager, which)
    state, progress = restore_state(exp, manager, step)
    best = checkpoint.find_best(manager)
  phase = exp.programs.phase_of_state(step)
  return Saved(step, phase, state, progress, best)
