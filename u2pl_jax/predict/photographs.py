"""Finds photographs, and reads them upright."""

import collections
import dataclasses
import glob
import os
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from u2pl_jax.data import image_files


@dataclasses.dataclass(frozen=True)
class Photograph:
  """An image file.

  Attributes:
    path: where it is.
    name: what its results are named after: its path within the folder that was
      searched, without the ending, unless another file differs in that alone.
  """

  path: pathlib.Path
  name: str


def find(where: str, without: Iterable[pathlib.Path] = ()) -> list[Photograph]:
  """Image files in a folder or of a pattern, sorted by path.

  Args:
    where: a folder, of which all files that end like images are taken, in
      subfolders too, but no hidden ones; or a file; or a pattern with *, ? and
      **, of which all files are taken. Links to folders are followed, but no
      folder is searched twice, least of all in circles.
    without: folders that are left out.

  Raises:
    FileNotFoundError: there is none; one line.
    ValueError: the pattern leads out of the folder it begins with; one line.
  """
  where = os.path.expanduser(where)
  path, without = pathlib.Path(where), list(without)
  if path.is_dir():
    root, files = path, _files_like_images(path, without)
  elif path.exists():
    root, files = path.parent, [path]
  elif _is_pattern(path):
    root = next(folder for folder in path.parents if not _is_pattern(folder))
    parts = path.relative_to(root).parts
    parts += ("*",) if parts[-1] == "**" else ()
    files = (
      _reached_once(_match(root, parts))
      if "**" in parts
      else map(pathlib.Path, glob.glob(where))
    )
  else:
    raise FileNotFoundError(f"{where}: no such file or folder")
  left_out = {_absolute(folder) for folder in without}
  found = {
    _relative(file, root): file
    for file in files
    if not file.is_dir() and left_out.isdisjoint(_absolute(file).parents)
  }
  if not found:
    what = "file that ends like an image (.jpg, .png, ...)"
    raise FileNotFoundError(
      f"{where}: there is no {what if path.is_dir() else 'such file'}"
    )
  names = _choose_names(found)
  return [Photograph(found[key], names[key]) for key in sorted(found)]


def _files_like_images(
  folder: pathlib.Path, without: Iterable[pathlib.Path]
) -> Iterator[pathlib.Path]:
  seen = {_identify(left_out) for left_out in without if left_out.exists()}
  pending = [os.fspath(folder)]
  while pending:
    links = []  # After the folders that really are there, as those name best.
    for parent, subfolders, names in os.walk(pending.pop(0)):
      identity = _identify(parent)
      if identity in seen:
        subfolders.clear()
        continue
      seen.add(identity)
      subfolders[:] = [name for name in subfolders if not name.startswith(".")]
      paths = (os.path.join(parent, name) for name in subfolders)
      links += filter(os.path.islink, paths)
      for path in (pathlib.Path(parent, name) for name in names):
        is_image = path.suffix.lower() in image_files.ENDINGS
        if is_image and not path.name.startswith("."):
          yield path
    pending += sorted(links)


def _identify(folder: str | pathlib.Path) -> tuple[int, int]:
  """Device and inode of what may be a link to a folder."""
  status = os.stat(folder)
  return status.st_dev, status.st_ino


def _match(
  folder: pathlib.Path,
  parts: tuple[str, ...],
  above: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[pathlib.Path]:
  """What a pattern matches. Python's own goes in circles 40 times.

  Args:
    folder: where the pattern begins.
    parts: the pattern, of which "**" stands for any folders below another.
    above: the folders that the present "**" has gone through.
  """
  if not parts:
    yield folder
  elif parts[0] != "**":
    for path in glob.glob(os.path.join(glob.escape(str(folder)), parts[0])):
      yield from _match(pathlib.Path(path), parts[1:])
  elif folder.is_dir() and _identify(folder) not in above:
    yield from _match(folder, parts[1:])
    for path in glob.glob(os.path.join(glob.escape(str(folder)), "*")):
      yield from _match(pathlib.Path(path), parts, above | {_identify(folder)})


def _reached_once(files: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  """Of paths that lead to one file through links to folders, the shortest."""
  found = {}
  for file in sorted(files, key=lambda file: (len(file.parts), file)):
    found.setdefault((os.path.realpath(file.parent), file.name), file)
  return list(found.values())


def _is_pattern(path: pathlib.Path) -> bool:
  return re.search(r"[*?[]", str(path)) is not None


def _absolute(path: pathlib.Path) -> pathlib.Path:
  """Without "..", and without following links."""
  return pathlib.Path(os.path.abspath(path))


def _relative(file: pathlib.Path, root: pathlib.Path) -> str:
  relative = os.path.relpath(file, root)
  if relative.startswith(os.pardir):
    raise ValueError(f"{file} is not in {root}; use a pattern without ..")
  return relative


def _choose_names(files: Collection[str]) -> dict[str, str]:
  """A name for each file, no two alike: without its ending where that does."""
  stems = {file: os.path.splitext(file)[0] for file in files}
  count = collections.Counter(stems.values())
  return {
    file: file if count[stem] > 1 or stem in stems else stem
    for file, stem in stems.items()
  }


def read_size(path: pathlib.Path) -> tuple[int, int]:
  """(height, width) in pixels of the upright image; reads the header alone.

  Raises:
    image_files.UnreadableError: there is no image in the file.
  """
  return image_files.read_header(path).size


def read(
  path: pathlib.Path, value_range: tuple[int, int] | None = None
) -> np.ndarray:
  """The image, upright; see `image_files` for how.

  Args:
    path: of the file.
    value_range: (low, high), what becomes black and white in images of more
      than 8 bits a channel.

  Returns:
    uint8 [H, W, 3] RGB, may be read-only.

  Raises:
    image_files.UnreadableError: the file is broken, truncated, or holds pixels
      of a kind that is refused.
  """
  return image_files.decode(path, value_range).pixels
