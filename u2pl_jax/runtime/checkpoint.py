"""Saving and restoring the whole state, with Orbax, asynchronously.

One folder holds the last few checkpoints and the best one:

  checkpoints/STEP/state     every array of the `TrainState`
  checkpoints/STEP/progress  JSON: step, epoch, position in the data, seconds,
                             the data's fingerprint, the arrays' digest
  checkpoints/STEP/metrics   JSON: mIoU, where that step was evaluated

A folder appears under its name once all in it is written.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from u2pl_jax.runtime import damage, quiet, tree

PyTree = Any

# What it means for a run that an entry of its data's fingerprint differs.
_CHANGES = {
  "dataset": "the dataset was {saved!r}, is {asked!r}",
  "classes": "the classes were {saved}, are {asked}",
  "class map": "values of masks stand for other classes",
  "labeled ids": "the labeled list changed",
  "unlabeled ids": "the unlabeled list changed",
  "validation ids": "the validation list changed",
  "training contents": "pixels or masks of the training images changed",
  "validation contents": "pixels or masks of the validation images changed",
}


@contextlib.contextmanager
def open_manager(
  directory: epath.PathLike, *, keep_last: int, read_only: bool = False
) -> Iterator[ocp.CheckpointManager]:
  """A manager that keeps the last `keep_last` checkpoints and the best one.

  At the end it waits for the checkpoint that is being saved.

  Args:
    directory: made if absent, unless `read_only`.
    keep_last: at least 1.
    read_only: for evaluation; nothing is saved or deleted.

  Raises:
    ValueError: `keep_last` is below 1, or a checkpoint's notes are damaged.
    OSError: the folder cannot be made, or the last checkpoint not be written.
  """
  if keep_last < 1:
    raise ValueError(f"checkpoint.keep_last={keep_last}: must be >= 1")
  quiet.silence_checkpoints()
  directory = damage.absolute(epath.Path(directory))
  damage.check_notes(directory)  # The manager reads them for the best step.
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
    cleanup_tmp_directories=not read_only,  # Of saves that were killed.
    read_only=read_only,
  )
  manager = ocp.CheckpointManager(directory, options=options)
  try:
    yield manager
  except BaseException:
    with contextlib.suppress(Exception):  # The first error says more.
      manager.close()
    raise
  wait(manager)
  manager.close()


def find_step(manager: ocp.CheckpointManager, which: str) -> int:
  """The step of a checkpoint, which is read through once.

  Args:
    manager: from `open_manager`.
    which: "best" or "last".

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is damaged; one line that names its folder.
  """
  step = {"best": manager.best_step, "last": manager.latest_step}[which]()
  if step is None and manager.latest_step() is not None:
    raise FileNotFoundError(
      f"{manager.directory} holds no best checkpoint, as none was evaluated"
      " yet; use --checkpoint=last"
    )
  if step is None:
    raise FileNotFoundError(
      f"{manager.directory} holds no {which} checkpoint, as none was saved yet"
    )
  folder = manager.directory / str(step)
  reason = damage.find_damage(folder)
  if reason:
    raise ValueError(
      f"{folder}: damaged checkpoint ({reason}); move it elsewhere to use"
      " another one"
    )
  return step


def save(
  manager: ocp.CheckpointManager,
  step: int,
  state: PyTree,
  progress: Mapping[str, Any],
  miou: float | None = None,
) -> None:
  """Starts to save; returns once the arrays are copied off the devices.

  Does nothing where there is a checkpoint of this step or a later one.

  Args:
    manager: from `open_manager`.
    step: names the checkpoint.
    state: sharded arrays.
    progress: JSON-able; what `damage.PROGRESS_KEYS` names among it.
    miou: of this step's evaluation, percent; None where there was none.

  Raises:
    OSError: this checkpoint or the one before it cannot be written.
  """
  wait(manager)
  notes = {**progress, "digest": damage.compute_digest(state)}
  try:
    manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        progress=ocp.args.JsonSave(notes),
      ),
      metrics=None if miou is None else {"miou": miou},
    )
  except Exception as error:  # TensorStore and Orbax have kinds of their own.
    raise _cannot_save(manager, error) from error


def wait(manager: ocp.CheckpointManager) -> None:
  """Waits until the checkpoint that is being saved is complete.

  Raises:
    OSError: it cannot be written.
  """
  try:
    manager.wait_until_finished()
  except Exception as error:
    raise _cannot_save(manager, error) from error


def _cannot_save(manager: ocp.CheckpointManager, error: Exception) -> OSError:
  return OSError(
    f"{manager.directory}: a checkpoint cannot be written"
    f" ({damage.find_cause(error)})"
  )


def restore(
  manager: ocp.CheckpointManager,
  step: int,
  abstract_state: PyTree,
  data: Mapping[str, Any],
) -> tuple[PyTree, dict[str, Any]]:
  """The state and the progress saved at `step`.

  Args:
    manager: from `open_manager`.
    step: one of `manager.all_steps()`.
    abstract_state: shapes, dtypes and shardings that the result will have;
      those it was saved with may have been others.
    data: what `progress["data"]` has to be.

  Raises:
    ValueError: the state has other arrays or was trained on other data, and
      the message names what differs; or it cannot be read.
  """
  folder = manager.directory / str(step)
  try:
    saved = ocp.PyTreeCheckpointHandler().metadata(folder / "state").tree
    progress = _read_progress(manager, step)
  except Exception as error:
    raise _cannot_restore(folder, error) from error
  _check_same_arrays(folder, saved, abstract_state)
  _check_same_data(folder, progress["data"], data)
  try:
    restored = manager.restore(
      step,
      args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state)),
    )
  except Exception as error:
    raise _cannot_restore(folder, error) from error
  return restored["state"], progress


def _cannot_restore(folder: epath.Path, error: Exception) -> ValueError:
  return ValueError(
    f"{folder}: cannot be restored ({damage.find_cause(error)}); move it"
    " elsewhere to go on from the checkpoint before it"
  )


def _check_same_arrays(
  folder: epath.Path, saved: PyTree, abstract_state: PyTree
) -> None:
  """Raises ValueError that names the first array, by path, that differs."""
  difference = tree.first_difference(saved, abstract_state)
  if difference is not None:
    path, held, wanted = difference
    raise ValueError(
      f"{folder} holds another network or state: {path} is {held}, this config"
      f" has {wanted}; use another --workdir"
    )


def _check_same_data(
  folder: epath.Path, saved: Mapping[str, Any], asked: Mapping[str, Any]
) -> None:
  """Raises ValueError that says all that differs, in words.

  Runs of earlier versions know less of their data, and each class by a key of
  its own.
  """
  saved = dict(saved)
  names = [saved.pop(k) for k in list(saved) if re.fullmatch(r"class \d+", k)]
  if names:
    saved["classes"] = ", ".join(names)
  changes = [
    _CHANGES.get(key, "{key} was {saved}, is {asked}").format(
      key=key, saved=saved[key], asked=asked.get(key)
    )
    for key in saved
    if saved[key] != asked.get(key)
  ]
  if changes:
    raise ValueError(
      f"{folder} was trained on other data: {'; '.join(changes)}; restore that"
      " data, or start anew in another --workdir"
    )


def restore_variables(
  manager: ocp.CheckpointManager, step: int, *, teacher: bool
) -> dict[str, PyTree] | None:
  """The variables of one network saved at `step`; reads nothing else.

  Neither the config of the run nor its devices are needed.

  Args:
    manager: from `open_manager`.
    step: one of `manager.all_steps()`.
    teacher: the teacher's variables instead of the student's.

  Returns:
    {"params", "batch_stats"}, nested dictionaries of numpy arrays; None if
    the teacher is asked for and the state holds none.
  """
  path = manager.directory / str(step) / "state"
  saved = ocp.PyTreeCheckpointHandler().metadata(path).tree
  names = ("params", "batch_stats")
  held = (saved.get("memory") or {}).get("teacher") if teacher else saved
  if held is None:
    return None
  own = {name: held[name] for name in names}
  wanted = {"memory": {"teacher": own}} if teacher else own
  frozen = {"frozen": saved["frozen"]} if saved.get("frozen") else {}
  found = _restore_part(path, wanted | frozen)
  own = found["memory"]["teacher"] if teacher else found
  return tree.merge({n: own[n] for n in names}, found.get("frozen", {}))


def restore_network(
  directory: epath.PathLike, which: str, network: str | None
) -> tuple[int, str, dict[str, PyTree]]:
  """The variables of one network of a run, without its config or devices.

  Args:
    directory: the run's folder of checkpoints.
    which: "best" or "last".
    network: "teacher" or "student"; None for the one that counts, which the
      checkpoint's progress names.

  Returns:
    The step, "teacher" or "student", and the variables; see
    `restore_variables`.

  Raises:
    FileNotFoundError: there is no such checkpoint.
    ValueError: it is damaged, or holds no teacher; one line.
  """
  directory = epath.Path(directory)
  if not directory.is_dir():
    raise FileNotFoundError(
      f"{directory.parent} holds no run (no {directory.name})"
    )
  with open_manager(directory, keep_last=1, read_only=True) as manager:
    step = find_step(manager, which)
    chosen = network or _read_progress(manager, step)["network"]
    variables = restore_variables(manager, step, teacher=chosen == "teacher")
  if variables is None:
    raise ValueError(f"{directory.parent} has no teacher, only a student")
  return step, chosen, variables


def _read_progress(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
  items = ocp.args.Composite(progress=ocp.args.JsonRestore())
  return manager.restore(step, args=items)["progress"]


def _restore_part(path: epath.Path, wanted: PyTree) -> PyTree:
  """A part of a saved state, as numpy arrays.

  Args:
    path: of the state.
    wanted: that part of its metadata.
  """
  as_numpy = jax.tree.map(
    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
  )
  return ocp.PyTreeCheckpointHandler().restore(
    path,
    args=ocp.args.PyTreeRestore(
      item=wanted, restore_args=as_numpy, partial_restore=True
    ),
  )


def find_best(manager: ocp.CheckpointManager) -> tuple[int, float] | None:
  """Step and mIoU, percent, of the best checkpoint; None if none has one."""
  step = manager.best_step()
  return None if step is None else (step, manager.metrics(step)["miou"])
