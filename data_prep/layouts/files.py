"""Lists what is in a folder: links followed, hidden things skipped."""

import collections
import dataclasses
import functools
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

# What systems and tools leave behind in every folder; so do names with a dot.
_LEFT_BEHIND = frozenset(
  ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin")
)


def is_hidden(name: str) -> bool:
  """Whether a file or folder of this name is no data of anyone's."""
  return name.startswith(".") or name.lower() in _LEFT_BEHIND


def key(name: str) -> str:
  """A name to compare: file systems differ in how they compose accents."""
  return unicodedata.normalize("NFC", name)


def list_files(folder: pathlib.Path) -> list[str]:
  """The files of `folder` and below, relative to it, sorted.

  Links to folders are followed, but not back to where they come from.

  Raises:
    FileNotFoundError: a link, to a folder as it seems, leads nowhere.
    OSError: a folder cannot be read.
  """
  return sorted(_walk(os.fspath(folder), "", frozenset()))


def _walk(folder: str, prefix: str, above: frozenset[str]) -> Iterator[str]:
  real = os.path.realpath(folder)
  if real in above:
    return
  with os.scandir(folder) as entries:
    visible = [entry for entry in entries if not is_hidden(entry.name)]
  for entry in visible:
    if entry.is_dir():
      yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {real})
      continue
    if not os.path.exists(entry.path) and not os.path.splitext(entry.name)[1]:
      raise FileNotFoundError(
        f"{entry.path}: a link to {os.readlink(entry.path)}, which is not "
        "there; repair or remove it"
      )
    yield prefix + entry.name


def list_folders(folder: pathlib.Path) -> list[pathlib.Path]:
  """The folders right in `folder`, sorted; none if it is no folder."""
  if not folder.is_dir():
    return []
  paths = sorted(folder.iterdir())
  return [p for p in paths if p.is_dir() and not is_hidden(p.name)]


@dataclasses.dataclass(frozen=True)
class Listing:
  """A folder and all that is in it.

  Attributes:
    root: the folder.
    names: its files, relative to it, sorted.
  """

  root: pathlib.Path
  names: tuple[str, ...]

  @functools.cached_property
  def by_key(self) -> dict[str, str]:
    """The names of the files, by `key`."""
    return {key(name): name for name in self.names}

  @functools.cached_property
  def folders(self) -> dict[str, int]:
    """How many files are right in each folder; "" is the root."""
    counts = collections.Counter(n.rpartition("/")[0] for n in self.names)
    for name in list(counts):
      while name:
        name = name.rpartition("/")[0]
        counts.setdefault(name, 0)
    return dict(counts)

  def under(self, folder: str) -> list[str]:
    """The files of `folder` and below, relative to it."""
    prefix = f"{folder}/" if folder else ""
    names = self.names
    return [n[len(prefix) :] for n in names if n.startswith(prefix)]


def read(root: pathlib.Path, without: Sequence[pathlib.Path] = ()) -> Listing:
  """Lists a folder but for what is in other folders.

  Raises:
    OSError: it cannot be read.
  """
  names = list_files(root)
  if without:
    tops = [os.path.realpath(folder) + os.sep for folder in without]
    top = os.path.realpath(root)
    names = [
      name for name in names if not f"{top}/{name}".startswith(tuple(tops))
    ]
  return Listing(root, tuple(names))


def split_ending(name: str) -> tuple[str, str]:
  """Returns a path without the ending of its name, and that in small letters.

  "a/b.c.JPG" is "a/b.c" and ".jpg".
  """
  stem, ending = os.path.splitext(name)
  return stem, ending.lower()


def index(
  folder: pathlib.Path, endings: Sequence[str]
) -> Mapping[str, list[pathlib.Path]]:
  """The files of `folder` and below that have an ending, by id.

  Raises:
    FileNotFoundError: there is no such folder.
  """
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder}: no such folder")
  found = {}
  for name in list_files(folder):
    stem, ending = split_ending(name)
    if ending in endings:
      found.setdefault(key(stem), []).append(folder / name)
  return found
