"""Saving and restoring the whole state, with Orbax, asynchronously.

One folder holds the last few checkpoints and the best one:

  checkpoints/STEP/state     every array of the `TrainState`
  checkpoints/STEP/progress  JSON: step, epoch, position in the data, seconds
  checkpoints/STEP/metrics   JSON: mIoU, where that step was evaluated
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

PyTree = Any


def create_manager(
  directory: epath.PathLike, *, keep_last: int, read_only: bool = False
) -> ocp.CheckpointManager:
  """A manager that keeps the last `keep_last` checkpoints and the best one.

  Args:
    directory: made if absent, unless `read_only`.
    keep_last: at least 1.
    read_only: for evaluation; nothing is saved or deleted.

  Raises:
    ValueError: `keep_last` is below 1.
  """
  if keep_last < 1:
    raise ValueError(f"checkpoint.keep_last={keep_last}: must be >= 1")
  preserve = checkpoint_managers.AnyPreservationPolicy(
    [
      checkpoint_managers.LatestN(n=keep_last),
      checkpoint_managers.BestN(
        n=1,
        get_metric_fn=lambda metrics: metrics["miou"],
        keep_checkpoints_without_metrics=False,
      ),
    ]
  )
  options = ocp.CheckpointManagerOptions(
    preservation_policy=preserve,
    best_fn=lambda metrics: metrics["miou"],
    create=not read_only,
    read_only=read_only,
  )
  return ocp.CheckpointManager(
    epath.Path(directory).absolute(), options=options
  )


def save(
  manager: ocp.CheckpointManager,
  step: int,
  state: PyTree,
  progress: dict[str, Any],
  miou: float | None = None,
) -> None:
  """Starts to save; returns once the arrays are copied off the devices.

  Args:
    manager: from `create_manager`.
    step: names the checkpoint.
    state: sharded arrays.
    progress: JSON-able.
    miou: of this step's evaluation, percent; None where there was none.
  """
  manager.save(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardSave(state),
      progress=ocp.args.JsonSave(progress),
    ),
    metrics=None if miou is None else {"miou": miou},
  )


def restore(
  manager: ocp.CheckpointManager, step: int, abstract_state: PyTree
) -> tuple[PyTree, dict[str, Any]]:
  """The state and the progress saved at `step`.

  Args:
    manager: from `create_manager`.
    step: one of `manager.all_steps()`.
    abstract_state: shapes, dtypes and shardings that the result will have.
  """
  restored = manager.restore(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardRestore(abstract_state),
      progress=ocp.args.JsonRestore(),
    ),
  )
  return restored["state"], restored["progress"]


def restore_variables(
  manager: ocp.CheckpointManager, step: int, *, teacher: bool
) -> dict[str, PyTree] | None:
  """The variables of one network saved at `step`; reads nothing else.

  Neither the config of the run nor its devices are needed.

  Args:
    manager: from `create_manager`.
    step: one of `manager.all_steps()`.
    teacher: the teacher's variables instead of the student's.

  Returns:
    {"params", "batch_stats"}, nested dictionaries of numpy arrays; None if
    the teacher is asked for and the state holds none.

  Raises:
    ValueError: the checkpoint is damaged; one line that names its folder.
  """
  prefix = "teacher_" if teacher else ""
  path = manager.directory / str(step) / "state"
  try:
    restored = _restore_entries(
      path, (f"{prefix}params", f"{prefix}batch_stats")
    )
  except Exception as error:  # Whatever reads the files raises its own kind.
    reason = str(error).partition("\n")[0]
    raise ValueError(f"{path}: damaged checkpoint ({reason})") from error
  if None in restored.values():
    return None
  return {name.removeprefix(prefix): tree for name, tree in restored.items()}


def _restore_entries(
  path: epath.Path, names: Sequence[str]
) -> dict[str, PyTree]:
  """Some entries of a saved state, as numpy arrays; None stays None."""
  handler = ocp.PyTreeCheckpointHandler()
  saved = handler.metadata(path).tree
  wanted = {name: saved[name] for name in names}
  as_numpy = jax.tree.map(
    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
  )
  return handler.restore(
    path,
    args=ocp.args.PyTreeRestore(
      item=wanted, restore_args=as_numpy, partial_restore=True
    ),
  )


def best_miou(manager: ocp.CheckpointManager) -> float | None:
  """The mIoU of the best checkpoint, percent; None without an evaluated one."""
  step = manager.best_step()
  return None if step is None else manager.metrics(step)["miou"]
