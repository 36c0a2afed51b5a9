"""Finds checkpoints that can no longer be read, and sets them aside.

A checkpoint is damaged if one of its notes is no JSON, if an array is missing
or cut off, or if a bit of the arrays has changed since they were saved. What
cannot be reached for the moment (no permission, no network) is not damaged.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from jax.experimental import multihost_utils

PyTree = Any

FOLDER = "damaged_checkpoints"
_PROGRESS = "progress/metadata"
# What a resumed run and a check of the arrays need of it.
PROGRESS_KEYS = (
  "step", "network", "data", "seconds", "images_per_second", "bad_steps",
  "digest",
)  # fmt: skip
_NOTES = (
  _PROGRESS,
  "metrics/metrics",
  "state/_METADATA",
  "state/_sharding",
  "state/array_metadatas/*",
)
# Parts of the messages that TensorStore has for what it could not reach.
_UNREACHED = (
  "UNAVAILABLE", "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED",
  "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "Permission denied",
)  # fmt: skip
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def first_line(error: BaseException) -> str:
  """What an exception says, without the details below; its kind if nothing."""
  return str(error).strip().partition("\n")[0] or type(error).__name__


def find_cause(error: BaseException) -> str:
  """The end of a message that TensorStore begins with all that it was doing."""
  text = re.sub(r" \[\w+='.*'\]$", "", first_line(error))
  return ": ".join(text.split(": ")[-2:])


def absolute(path: epath.Path) -> epath.Path:
  """The path from the root; one like gs://BUCKET/FOLDER is so already."""
  return path if "://" in str(path) else path.absolute()


def steps(directory: epath.Path) -> list[int]:
  """The steps of all checkpoints in a folder, the newest first."""
  return sorted(ocp.utils.checkpoint_steps(directory), reverse=True)


def compute_digest(state: PyTree) -> int:
  """The sum of the bits of all arrays, modulo 2^32, however they are sharded.

  Args:
    state: arrays on any devices of all processes.
  """
  own = sum(
    _sum_of_bits(shard.data)
    for array in jax.tree.leaves(state)
    for shard in array.addressable_shards
    if shard.replica_id == 0
  )
  parts = multihost_utils.process_allgather(np.uint32(own % 2**32))
  return int(np.sum(parts, dtype=np.uint64) % 2**32)


def _sum_of_bits(array: jax.Array | np.ndarray) -> int:
  array = np.asarray(array)
  bits = array.view(f"u{array.itemsize}")
  return int(np.sum(bits, dtype=np.uint32))


def find_damage(checkpoint: epath.Path) -> str | None:
  """Reads all of a checkpoint; says what is wrong with it, or None.

  Args:
    checkpoint: the folder of one step.

  Raises:
    OSError, ValueError: the checkpoint could not be reached.
  """
  reason = _find_bad_note(checkpoint)
  if reason:
    return reason
  progress = json.loads((checkpoint / _PROGRESS).read_text())
  try:
    arrays = read_arrays(checkpoint)
    digest = sum(_sum_of_bits(array) for _, array in arrays)
  except Exception as error:  # TensorStore has kinds of its own.
    if not _is_damage(error):
      raise
    return f"an array cannot be read: {first_line(error).partition(':')[0]}"
  if digest % 2**32 != progress["digest"]:
    return "the arrays are not those that were saved"
  return None


def _is_damage(error: Exception) -> bool:
  """Whether the fault lies in what is stored, not in the way to it."""
  if isinstance(error, MemoryError | OSError):
    return isinstance(error, _ABSENT)
  return not any(words in str(error) for words in _UNREACHED)


def _find_bad_note(checkpoint: epath.Path) -> str | None:
  """Says which note of a checkpoint is missing or wrong, or None."""
  for name in (_PROGRESS, "state/_METADATA"):
    if not (checkpoint / name).exists():
      return f"{name} is missing"
  for pattern in _NOTES:
    for path in checkpoint.glob(pattern):
      try:
        json.loads(path.read_text())
      except ValueError:
        return f"{path.relative_to(checkpoint)} is not JSON"
  progress = json.loads((checkpoint / _PROGRESS).read_text())
  lacking = [
    key
    for key in PROGRESS_KEYS
    if not isinstance(progress, dict) or key not in progress
  ]
  return f"{_PROGRESS} lacks {', '.join(lacking)}" if lacking else None


def check_notes(directory: epath.Path) -> None:
  """Raises ValueError that names the first checkpoint with a bad note."""
  for step in steps(directory):
    reason = _find_bad_note(directory / str(step))
    if reason:
      raise ValueError(
        f"{directory / str(step)}: damaged checkpoint ({reason}); move it"
        " elsewhere to use the others"
      )


def read_arrays(checkpoint: epath.Path) -> Iterator[tuple[str, np.ndarray]]:
  """The saved arrays with their names, one after the other.

  Orbax reads all at once, and prints a traceback for each that it cannot.

  Args:
    checkpoint: the folder of one step.
  """
  folder = f"{absolute(checkpoint)}/state/"
  is_local = "://" not in folder
  base = {"driver": "file", "path": folder} if is_local else folder
  store = {"driver": "ocdbt", "base": base}
  keys = ts.KvStore.open(store).result().list().result()
  for name in sorted({key.decode().partition("/")[0] for key in keys}):
    spec = {"driver": "auto", "kvstore": store | {"path": f"{name}/"}}
    array = ts.open(spec, open=True, read=True).result()
    yield name, array.read().result()


def set_aside(directory: epath.Path, show: Callable[[str], None]) -> None:
  """Moves damaged checkpoints out of the way of the next one.

  The newest ones are read through, up to one that is whole; of those before
  it, only the notes. Process 0 does so, the others wait for it.

  Args:
    directory: the folder of the checkpoints; damaged ones go to the folder
      beside it that `FOLDER` names.
    show: receives one line for each damaged checkpoint.

  Raises:
    ValueError: all are damaged; none is moved.
    OSError: a checkpoint could not be reached or moved.
  """
  if jax.process_index() == 0:
    _set_aside(directory, show)
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("damaged checkpoints are set aside")


def _set_aside(directory: epath.Path, show: Callable[[str], None]) -> None:
  damaged, is_whole = {}, False
  found = steps(directory)
  for step in found:
    folder = directory / str(step)
    reason = _find_bad_note(folder) if is_whole else find_damage(folder)
    if reason:
      damaged[step] = reason
    else:
      is_whole = True
  if damaged and not is_whole:
    raise ValueError(
      f"{directory}: no checkpoint can be read (step {found[0]}:"
      f" {damaged[found[0]]}); restore the folder from a copy, or remove it to"
      " start from step 0"
    )
  for step, reason in damaged.items():
    target = _move(directory / str(step), directory.parent / FOLDER)
    show(f"checkpoint of step {step} is damaged ({reason}); moved to {target}")


def _move(source: epath.Path, folder: epath.Path) -> epath.Path:
  """Moves a folder into another, under a name that is free there."""
  folder.mkdir(parents=True, exist_ok=True)
  target, count = folder / source.name, 1
  while target.exists():
    count += 1
    target = folder / f"{source.name}_{count}"
  source.rename(target)
  return target
