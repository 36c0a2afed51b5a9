"""The folder of a run: its config, its result, and whose it is."""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from etils import epath

_LOCK = ".lock"  # Held by the process that writes to the folder.

# What may differ between the config of a run and the one it is resumed with.
_FREE_TO_CHANGE = (
  "mesh",
  "model.remat",
  "data.data_dir",
  "data.num_workers",
  "data.unlabeled_masks",
  "train.log_every_steps",
  "train.max_bad_steps",
  "eval.batch_size",
  "eval.num_images",
  "checkpoint.",
  "log.",
)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested dicts to one dict with keys like "model.width"."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat


def with_tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Settings as a config has them, where JSON made lists of their tuples."""
  return {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in settings.items()
  }


def write_json(path: epath.Path, value: Any) -> None:
  """Writes a file that is either the old one or the whole new one.

  Raises:
    OSError: the file cannot be written; the message names it.
  """
  write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_bytes(path: epath.Path, content: bytes) -> None:
  """Writes a file that is either the old one or the whole new one.

  Raises:
    OSError: the file cannot be written; the message names it.
  """
  temporary = path.with_name(path.name + ".tmp")
  try:
    temporary.write_bytes(content)
    temporary.replace(path)
  except Exception as error:  # Backends of gs:// have kinds of their own.
    with contextlib.suppress(Exception):
      temporary.unlink(missing_ok=True)
    raise OSError(f"{path} cannot be written: {error}") from error


def holds_checkpoint(workdir: epath.Path) -> bool:
  """Whether a run has got to its first checkpoint there.

  Before that it binds nothing: another one may take its place.
  """
  folder = workdir / "checkpoints"
  return folder.is_dir() and any(p.name.isdecimal() for p in folder.iterdir())


def read_config(workdir: epath.Path) -> dict[str, Any]:
  """The nested config of a run, tuples as lists.

  Raises:
    FileNotFoundError: the folder holds no run.
    ValueError: the file is damaged.
  """
  return _read(workdir, "config.json", f"{workdir} holds no run")


def read_classes(workdir: epath.Path) -> dict[str, Any]:
  """{"names": [K], "palette": [K, 3]} of a run's data.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is damaged.
  """
  hint = f"{workdir}: start main.py on it once, to have the classes written"
  return _read(workdir, "classes.json", hint)


def _read(workdir: epath.Path, name: str, if_absent: str) -> dict[str, Any]:
  path = workdir / name
  if not path.exists():
    raise FileNotFoundError(f"{if_absent} (no {name})")
  return read_json(path, "restore it from a copy, or use another --workdir")


def read_json(path: epath.Path, hint: str) -> Any:
  """What a JSON file holds.

  Args:
    path: the file.
    hint: what to do where it is damaged.

  Raises:
    OSError: the file cannot be read.
    ValueError: the file is damaged; one line that names it.
  """
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f"{path} is damaged ({error}); {hint}") from error


def check_same_config(
  workdir: epath.Path,
  config: Mapping[str, Any],
  also_free: tuple[str, ...] = (),
) -> None:
  """Refuses a config under which the workdir's checkpoints make no sense.

  Args:
    workdir: holds the `config.json` of the run.
    config: nested dict of the config now asked for.
    also_free: beginnings of more keys that may differ.

  Raises:
    FileNotFoundError: there is no `config.json`.
    ValueError: a key differs that a run may not change, which it names, or
      the file is damaged.
  """
  saved = read_config(workdir)
  if "encoder" not in saved:
    raise ValueError(
      f"{workdir} holds a run of version 0.1, which this one cannot go on with;"
      " use another --workdir, or version 0.1"
    )
  saved = flatten(saved)
  asked = flatten(json.loads(json.dumps(config)))
  for key in sorted(saved.keys() | asked.keys()):
    if key.startswith(_FREE_TO_CHANGE + also_free):
      continue
    if key not in saved:
      raise ValueError(
        f"{workdir} holds a run of another version, without {key}; use another"
        " --workdir, or that version"
      )
    if _plain(saved[key]) != _plain(asked.get(key)):
      raise ValueError(
        f"{workdir} holds a run with {key}={saved[key]!r}, not"
        f" {asked.get(key)!r}; use another --workdir, or the run's own config"
      )


def _plain(value: Any) -> Any:
  """A value with ~ written out, as command lines have it."""
  return os.path.expanduser(value) if isinstance(value, str) else value


@contextlib.contextmanager
def lock(workdir: epath.Path) -> Iterator[None]:
  """Makes the folder, and keeps other runs out of it while the body runs.

  A process that dies holds nothing. Folders like gs://BUCKET/RUN, and file
  systems without locks, keep nobody out.

  Raises:
    OSError: another run holds the folder, or it cannot be written; one line.
  """
  _make(workdir)
  if "://" in str(workdir):
    yield
    return
  path = workdir / _LOCK
  try:
    file = open(path, "a+")
  except OSError as error:
    raise OSError(f"{path} cannot be written: {error}") from error
  with file:
    _lock(file, workdir)
    yield


def _lock(file: IO[str], workdir: epath.Path) -> None:
  """Locks an open file, and has it tell by whom it is locked."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.seek(0)
    holder = file.read().strip()
    raise OSError(
      f"{workdir} is in use by another run"
      + (f", {holder}" if holder else "")
      + "; wait for its end, or use another --workdir"
    ) from None
  except OSError as error:
    if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
      return
    raise
  file.truncate(0)
  file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
  file.flush()


def claim(
  workdir: epath.Path,
  config: Mapping[str, Any],
  names: Sequence[str],
  palette: Sequence[Sequence[int]],
) -> None:
  """Makes the folder and records the config, or checks the one it holds.

  A run that has neither a checkpoint nor a result binds nothing: another one
  takes its place.

  Args:
    workdir: the folder of the run.
    config: the config of the run, a nested dict of JSON values.
    names: the names of the classes.
    palette: the RGB colors of the classes.

  Raises:
    OSError: the folder cannot be written; the message names it.
    ValueError: the folder holds a run of another config, or other files.
  """
  _make(workdir)
  if not (workdir / "config.json").exists():
    if (workdir / "checkpoints").exists():
      raise ValueError(
        f"{workdir} holds checkpoints without config.json; use another"
        " --workdir"
      )
  elif holds_checkpoint(workdir) or (workdir / "result.json").exists():
    check_same_config(workdir, config)
  write_json(workdir / "config.json", config)
  classes = {"names": names, "palette": palette}
  write_json(workdir / "classes.json", classes)


def _make(workdir: epath.Path) -> None:
  try:
    workdir.mkdir(parents=True, exist_ok=True)
  except Exception as error:  # See write_bytes.
    raise OSError(f"workdir {workdir} cannot be written: {error}") from error
