"""The configs that come with this package, which are found by name."""

import difflib
import importlib.resources
import pathlib

_NEAREST = 3


def names() -> tuple[str, ...]:
  """Of all that `find` knows, in the order of the alphabet."""
  return tuple(sorted(path.stem for path in _files()))


def find(name: str) -> pathlib.Path:
  """The file that --config=NAME means.

  Args:
    name: of a file, wherever it is, or of a shipped config.

  Raises:
    FileNotFoundError: there is neither; one line with the nearest names.
  """
  path = pathlib.Path(name)
  if path.is_file():
    return path
  for shipped in _files():
    if shipped.stem == name:
      return shipped
  near = difflib.get_close_matches(path.stem, names(), n=_NEAREST, cutoff=0)
  raise FileNotFoundError(
    f"--config={name}: no such file, and no config of this package; the"
    f" nearest of these are {', '.join(near)}"
  )


def _files() -> list[pathlib.Path]:
  """Files that define a config; others hold what these have in common."""
  folder = pathlib.Path(str(importlib.resources.files("configs")))
  return [
    path
    for path in folder.glob("*.py")
    if "\ndef get_config(" in path.read_text()
  ]
