"""Starts a network from weights: converted from PyTorch, or exported here."""

import dataclasses
import itertools
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from u2pl_jax.models import (
  decoders,
  saved_networks,
  torch_names,
  torch_networks,
)
from u2pl_jax.runtime import tree as tree_lib
from u2pl_jax.runtime import workdir


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """Weights for some parts of a network.

  Attributes:
    variables: {"params": {PART: ...}, "batch_stats": {PART: ...}} of numpy
      arrays, only of the parts that the file covers.
    parts: their names: encoder alone, or all that the network has.
    left_out: heads in the file that the network lacks: "auxor",
      "decoder.representation".
    remembered: what the file holds beside networks, for a method to take over.
    class_names: [K] of a network that tells them; () of others.
  """

  variables: dict[str, Any]
  parts: tuple[str, ...]
  left_out: tuple[str, ...]
  remembered: dict[str, np.ndarray]
  class_names: tuple[str, ...] = ()


# Beginning of the names of what is not of a network.
MEMORY = "memory/"


def load_pretrained(
  path: epath.PathLike, variables: Mapping[str, Any]
) -> Pretrained:
  """Reads the parts of a network that a file or folder covers.

  A file with an encoder alone leaves decoder and heads to their
  initialization. A file with a whole network must have every head that the
  network has, and as many classes; heads that the network lacks are left out.

  Args:
    path: .npz of `data_prep.convert_torch_resnet` (names of the published
      code, PyTorch layout), or what `saved_networks` reads.
    variables: {"params", "batch_stats"} of the whole network, arrays or
      `jax.ShapeDtypeStruct`s.

  Returns:
    The weights, in the dtypes of `variables`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: one line: the file cannot be read, or lists all missing,
      extra, wrongly shaped and non-finite entries.
  """
  path = epath.Path(path).expanduser()
  if saved_networks.is_saved(path):
    return _load_saved(path, variables)
  arrays = _read_all(path)
  state_dict = _networks(arrays)
  whole = torch_networks.is_whole(state_dict)
  parts = ("encoder",)
  if whole:
    parts = tuple(p for p in torch_networks.PARTS if p in variables["params"])
  target = torch_networks.select_parts(variables, parts)
  left_out = tuple(
    head
    for head in _missing_heads(variables["params"])
    if any(name.startswith(f"{head}.") for name in state_dict)
  )
  wanted = {
    name: value
    for name, value in state_dict.items()
    if not name.startswith(tuple(f"{head}." for head in left_out))
  }
  problems = torch_names.find_problems(wanted, target)
  if problems:
    raise ValueError(
      f"{path} ({_describe(state_dict)}) does not fit the network"
      f"{_describe_network(variables)}; "
      + torch_names.summarize(problems)
      + _hint(problems, whole)
    )
  filled = torch_names.from_torch(wanted, target)
  remembered = {
    name.removeprefix(MEMORY): array
    for name, array in arrays.items()
    if name.startswith(MEMORY)
  }
  return Pretrained(filled, parts, left_out, remembered)


def _load_saved(path: epath.Path, variables: Mapping[str, Any]) -> Pretrained:
  """A whole network that was exported here; see `load_pretrained`."""
  about, held = saved_networks.read(path)
  held = {"batch_stats": {}} | held  # Not all have statistics.
  with saved_networks.naming_faults(str(path)):
    options, names = about["options"], tuple(about["names"])
    model = options["model"]
    title = f"{model['encoder']}, {model['decoder']}, {len(names)} classes"
  saved_networks.check(options, names, held, str(path))
  left_out = tuple(
    head
    for head in _missing_heads(variables["params"])
    if _holds(held["params"], head.split("."))
  )
  for head, collection in itertools.product(left_out, held):
    _remove(held[collection], head.split("."))
  difference = tree_lib.first_difference(held, variables)
  if difference:
    name, found, wanted = difference
    raise ValueError(
      f"{path} ({title}) does not fit the network"
      f"{_describe_network(variables)}; {name} is {found}, expected {wanted}"
    )
  parts = tuple(p for p in torch_networks.PARTS if p in held["params"])
  return Pretrained(held, parts, left_out, {}, names)


def _missing_heads(params: Mapping[str, Any]) -> list[str]:
  """Heads that files may have, and that the network has not, nor needs."""
  heads = dict.fromkeys(
    head
    for module in decoders.torch_modules()
    for head in module.TORCH_OPTIONAL
  )
  return [head for head in heads if not _holds(params, head.split("."))]


def read_sections(path: epath.PathLike) -> dict[str, dict[str, Any]]:
  """The sections `model`, `encoder`, `decoder` of a file's or folder's network.

  Of those exported here no weights are read; `load_pretrained` checks them.

  Args:
    path: see `load_pretrained`.

  Raises:
    OSError, ValueError: one line; see `recognize` and
      `saved_networks.read_description`.
  """
  path = epath.Path(path).expanduser()
  if not saved_networks.is_saved(path):
    return recognize(path).sections
  about = saved_networks.read_description(path)
  with saved_networks.naming_faults(str(path)):
    return {
      section: workdir.with_tuples(about["options"][section])
      for section in ("model", "encoder", "decoder")
    }


def recognize(path: epath.PathLike) -> torch_networks.Recognized:
  """What network a converted file is of; see `load_pretrained`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: one line: the file is damaged, or of no network known here.
  """
  return _recognize(path, _read(epath.Path(path).expanduser()))


def _recognize(
  path: epath.PathLike, state_dict: Mapping[str, np.ndarray]
) -> torch_networks.Recognized:
  try:
    return torch_networks.recognize(state_dict)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def load_network(
  path: epath.PathLike,
) -> tuple[torch_networks.Recognized, dict[str, Any]]:
  """Reads a whole network, whatever it is, such as a published checkpoint.

  A file does not tell strides and dilations: they are those of the published
  networks (output stride 8; rates 12, 24, 36).

  Args:
    path: .npz of `data_prep.convert_torch_resnet`.

  Returns:
    What the network is, and {"params", "batch_stats"}.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: one line: the file is damaged, holds an encoder alone, or a
      network that is not published.
  """
  state_dict = _read(epath.Path(path).expanduser())
  network = _recognize(path, state_dict)
  try:
    shapes = network.variable_shapes()
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  if not network.is_whole:
    raise ValueError(f"{path}: holds an encoder alone, which predicts nothing")
  if network.guessed:
    raise ValueError(
      f"{path}: {network}: not published, and the file does not tell"
      f" {', '.join(network.guessed)}; export its run as .safetensors instead"
    )
  problems = torch_names.find_problems(state_dict, shapes)
  if problems:
    raise ValueError(
      f"{path}: faulty as {network}; " + torch_names.summarize(problems)
    )
  return network, torch_names.from_torch(state_dict, shapes)


def _holds(tree: Mapping[str, Any], place: Sequence[str]) -> bool:
  for key in place:
    if key not in tree:
      return False
    tree = tree[key]
  return True


def _remove(tree: dict[str, Any], place: Sequence[str]) -> None:
  """Removes what is at a place, if anything is."""
  if _holds(tree, place):
    for key in place[:-1]:
      tree = tree[key]
    del tree[place[-1]]


def _describe(state_dict: Mapping[str, np.ndarray]) -> str:
  try:
    return str(torch_networks.recognize(state_dict))
  except ValueError as error:
    return str(error)


def _describe_network(variables: Mapping[str, Any]) -> str:
  """The network in parentheses; nothing of one that no file could be of."""
  try:
    shapes = torch_names.torch_shapes(variables)
    zeros = {n: np.broadcast_to(0, shape) for n, shape in shapes.items()}
    return f" ({torch_networks.recognize(zeros)})"
  except ValueError:
    return ""


def _hint(problems: list[str], whole: bool) -> str:
  if not whole or any(": encoder." in problem for problem in problems):
    return ""
  return (
    "; to start from the encoder alone, convert the PyTorch file with"
    " --encoder_only"
  )


def _read(path: epath.Path) -> dict[str, np.ndarray]:
  """Reads the arrays of networks from an .npz file."""
  return _networks(_read_all(path))


def _networks(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  return {n: array for n, array in arrays.items() if not n.startswith(MEMORY)}


def _read_all(path: epath.Path) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz file."""
  if not path.exists():
    raise FileNotFoundError(f"{path}: no such file")
  try:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
      names = archive.namelist()
  except (zipfile.BadZipFile, OSError, EOFError):
    names = []
  if not names or not all(name.endswith(".npy") for name in names):
    raise ValueError(
      f"{path}: not an .npz file, or a damaged one; to convert a PyTorch file:"
      " python -m data_prep.convert_torch_resnet FILE OUT.npz"
    )
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:  # zipfile, zlib and numpy raise many kinds.
    reason = " ".join(str(error).split())
    raise ValueError(f"{path}: damaged .npz file ({reason})") from error
