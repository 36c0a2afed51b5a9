"""Trained networks that describe themselves, as a file or as a folder.

A file NAME.safetensors holds float32 arrays with names like
params/encoder/layer1_0/conv1/kernel, and in its metadata, as JSON under
"u2pl_jax", what the network is. A folder is what others share:

  model.safetensors  such a file
  config.json        the same description, for people and programs; with the
                     version of this package and the SHA-256 of the file
  README.md          what else there is to say about it; never read
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from flax import traverse_util

import u2pl_jax
from u2pl_jax.models import network as network_lib
from u2pl_jax.runtime import tree, workdir

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_ABOUT = "u2pl_jax"  # Key of the description in a file, of the version here.
_DIGEST = "sha256"
_ANEW = "export the network anew"
_OF_A_RUN = "a run has to be exported, or named by --workdir"

About = Mapping[str, Any]
Variables = Mapping[str, Any]


def is_saved(path: epath.PathLike) -> bool:
  """Whether the path is a folder, or has the ending of a file, of this kind."""
  path = epath.Path(path)
  return path.suffix == ".safetensors" or path.is_dir()


def may_be_run(path: epath.PathLike) -> bool:
  """Whether the path is a folder without a network that was exported there."""
  path = epath.Path(path).expanduser()
  return path.is_dir() and not (path / WEIGHTS).exists()


def read(path: epath.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
  """What a file or folder says about its network, and its variables.

  Nothing is checked that the two say about each other.

  Raises:
    OSError: there is no such file; one line.
    ValueError: it is damaged, changed, or of something else; one line.
  """
  path = epath.Path(path)
  about = read_description(path)
  if not path.is_dir():
    return about, _read_variables(path)
  weights = path / WEIGHTS
  if not weights.is_file():
    raise FileNotFoundError(f"{weights}: no such file; {_ANEW}")
  digest = hashlib.sha256(weights.read_bytes()).hexdigest()
  if digest != about[_DIGEST]:
    raise ValueError(
      f"{weights}: is not the file that {CONFIG} was written for (its SHA-256"
      f" is {digest[:12]}..., not {str(about[_DIGEST])[:12]}...); download the"
      f" folder again, or {_ANEW}"
    )
  return about, _read_variables(weights)


def read_description(path: epath.PathLike) -> dict[str, Any]:
  """What a file or folder says about its network, whose weights are not read.

  Raises:
    OSError, ValueError: see `read`.
  """
  path = epath.Path(path)
  if path.is_dir():
    return _read_config(path)
  with _open_file(path) as file:
    about = json.loads((file.metadata() or {}).get(_ABOUT, "null"))
  if about is None:
    raise ValueError(f"{path}: was not written by u2pl_jax.tools.export")
  return about


def _read_config(folder: epath.Path) -> dict[str, Any]:
  """What `config.json` holds, of a version that is known here."""
  path = folder / CONFIG
  if not path.is_file():
    raise FileNotFoundError(
      f"{folder}: holds no network of u2pl_jax.tools.export --format=folder (no"
      f" {CONFIG}); {_OF_A_RUN}"
    )
  about = workdir.read_json(path, _ANEW)
  if not isinstance(about, dict) or not {_ABOUT, _DIGEST} <= set(about):
    raise ValueError(
      f"{path}: describes no network of u2pl_jax.tools.export"
      f" --format=folder; {_OF_A_RUN}"
    )
  written, ours = str(about[_ABOUT]), u2pl_jax.__version__
  if _parse(written, path) > _parse(ours, path):
    raise ValueError(
      f"{path}: was written by u2pl_jax {written}, and this is {ours}; install"
      " that version or a later one"
    )
  return about


def _parse(version: str, path: epath.Path) -> tuple[int, ...]:
  """The first two numbers of a version; the rest changes no description."""
  try:
    return tuple(int(number) for number in version.split(".")[:2])
  except ValueError as error:
    raise ValueError(
      f"{path}: {_ABOUT}={version!r} is no version of this package; {_ANEW}"
    ) from error


def _read_variables(path: epath.Path) -> dict[str, Any]:
  with _open_file(path) as file:
    leaves = {name: file.get_tensor(name) for name in file.keys()}
  return traverse_util.unflatten_dict(leaves, sep="/")


@contextlib.contextmanager
def _open_file(path: epath.Path) -> Iterator[Any]:
  """A file of arrays, of which only what is asked for is read.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it, or what is read of it, is damaged.
  """
  import safetensors

  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file")
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      yield file
  except (safetensors.SafetensorError, ValueError) as error:
    raise ValueError(f"{path}: damaged .safetensors file ({error})") from error


@contextlib.contextmanager
def naming_faults(origin: str) -> Iterator[None]:
  """Has errors of reading a description say whose it is, in one line."""
  try:
    yield
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"{origin}: the description of its network is faulty ({error!r})"
    ) from error


def check(
  options: Mapping[str, Any],
  names: Sequence[str],
  variables: Variables,
  origin: str,
) -> None:
  """Checks that a description and variables are of one network.

  Args:
    options: `num_classes`, and the sections `model`, `encoder` and `decoder`.
    names: of the classes.
    variables: {"params", "batch_stats"}.
    origin: what messages begin with.

  Raises:
    ValueError: they are not; one line.
  """
  with naming_faults(origin):
    if len(names) != options["num_classes"]:
      raise ValueError(
        f"{len(names)} names for num_classes={options['num_classes']}"
      )
    model = network_lib.create(options, len(names))
  difference = tree.first_difference(variables, model.variable_shapes())
  if difference:
    name, held, wanted = difference
    raise ValueError(
      f"{origin}: holds another network than it says; {name} is {held},"
      f" expected {wanted}"
    )


def write_file(
  path: epath.PathLike, about: About, variables: Variables
) -> None:
  """Writes a file that `read` reads.

  Args:
    path: of the file.
    about: JSON values.
    variables: nested dicts of arrays.

  Raises:
    OSError: it cannot be written; one line.
  """
  workdir.write_bytes(epath.Path(path), _to_bytes(about, variables))


def write_folder(
  path: epath.PathLike, about: About, variables: Variables, card: str
) -> None:
  """Writes a folder that `read` reads; it may be one of an earlier export.

  Args:
    path: of the folder, in one that exists.
    about: JSON values.
    variables: nested dicts of arrays.
    card: the text of README.md.

  Raises:
    OSError: it cannot be written, or holds something else; one line.
  """
  folder = epath.Path(path)
  if folder.exists() and not folder.is_dir():
    raise FileExistsError(f"{folder}: is a file, not a folder")
  if folder.is_dir() and not (folder / WEIGHTS).exists():
    if any(folder.iterdir()):
      raise FileExistsError(
        f"{folder}: holds something else; name a new folder"
      )
  folder.mkdir(exist_ok=True)
  content = _to_bytes(about, variables)
  digest = hashlib.sha256(content).hexdigest()
  described = {_ABOUT: u2pl_jax.__version__, **about, _DIGEST: digest}
  workdir.write_bytes(folder / WEIGHTS, content)
  workdir.write_json(folder / CONFIG, described)
  workdir.write_bytes(folder / CARD, card.encode())


def _to_bytes(about: About, variables: Variables) -> bytes:
  import safetensors.numpy

  leaves = traverse_util.flatten_dict(variables, sep="/")
  return safetensors.numpy.save(
    {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()},
    {_ABOUT: json.dumps(about)},
  )
