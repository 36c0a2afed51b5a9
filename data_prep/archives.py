"""Folders, tar files and zip files as one kind of mapping: path to file.

Nothing is extracted. An archive is indexed once; each member is then read from
its place.
"""

import functools
import os
import pathlib
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from data_prep import examples, writer

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_COMPRESSED_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_LINK = "is a link"


class _Entry(NamedTuple):
  """A file as its folder or archive lists it; `problem` says what is wrong."""

  name: str
  read: Callable[[], bytes] | None
  problem: str = ""


def open_files(path: str | pathlib.Path) -> dict[str, examples.File]:
  """Indexes the files of a folder, an uncompressed tar or a zip file.

  Hidden files and those that macOS adds to archives are left out. Links are
  followed in a folder and refused in an archive.

  Args:
    path: the folder or archive.

  Returns:
    The files in order of their paths; these are relative to `path` and have
    slashes on every system. The name of a File tells its whole place.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    ValueError: it is something else, truncated or damaged, or has entries that
      point outside, are links or occur twice; the message names all of them.
    OSError: the file cannot be read.
  """
  path = pathlib.Path(path).expanduser()
  files = {}
  problems = []
  for entry in _list_entries(path):
    name = str(pathlib.PurePosixPath(entry.name))  # Without "./" in front.
    problem = _find_name_problem(entry.name) or entry.problem
    if not problem and name in files:
      problem = "occurs twice"
    if problem:
      problems.append(f"{path}: entry {entry.name!r} {problem}")
    elif not _is_clutter(name):
      files[name] = examples.File(f"{path}/{name}", entry.read)
  if problems:
    raise writer.DataError(problems)
  return dict(sorted(files.items()))


def _list_entries(path: pathlib.Path) -> Iterator[_Entry]:
  if path.is_dir():
    return _list_folder(path)
  if not path.exists():
    raise FileNotFoundError(f"{path}: no such file or folder")
  print(f"reading the index of {path}", file=sys.stderr)
  with open(path, "rb") as file:
    start = file.read(8)
  if start.startswith(_ZIP_STARTS):
    return _list_zip(path)
  if start.startswith(_COMPRESSED_STARTS):
    raise ValueError(
      f"{path}: is compressed as a whole, so that its files cannot be reached "
      "one by one; unpack it into a .tar or a folder"
    )
  return _list_tar(path)


def _find_name_problem(name: str) -> str:
  """Returns what is wrong with the name of an entry; nothing: ""."""
  windows = pathlib.PureWindowsPath(name)  # Also knows "/" and "..".
  if windows.drive or windows.root or ".." in windows.parts:
    return "points outside"
  return ""


def _is_clutter(name: str) -> bool:
  parts = name.split("/")
  return "__MACOSX" in parts or any(part.startswith(".") for part in parts)


def _list_folder(root: pathlib.Path) -> Iterator[_Entry]:
  visited = set()
  for folder, subfolders, names in os.walk(root, followlinks=True):
    # A link to a folder that is already being listed would never end.
    visited.add(os.path.realpath(folder))
    subfolders[:] = [
      name
      for name in subfolders
      if os.path.realpath(os.path.join(folder, name)) not in visited
    ]
    for name in names:
      path = pathlib.Path(folder, name)
      yield _Entry(path.relative_to(root).as_posix(), path.read_bytes)


def _list_tar(path: pathlib.Path) -> Iterator[_Entry]:
  try:
    with tarfile.open(path, "r:") as tar:
      for member in tar:
        if not member.isdir():
          yield _to_entry(path, member)
      end = tar.offset
  except tarfile.TarError as error:
    raise ValueError(
      f"{path}: not a whole tar or zip file ({error})"
    ) from error
  # tarfile takes a damaged header, and a cut between members, for the end.
  if _read_at(path, end, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
    raise ValueError(f"{path}: truncated or damaged after {end} bytes")


def _to_entry(path: pathlib.Path, member: tarfile.TarInfo) -> _Entry:
  if member.issym() or member.islnk():
    return _Entry(member.name, None, f"{_LINK} to {member.linkname!r}")
  if not member.isreg() or member.issparse():
    return _Entry(member.name, None, "is not a plain file")
  read = functools.partial(_read_member, path, member.offset_data, member.size)
  return _Entry(member.name, read)


def _read_member(path: pathlib.Path, offset: int, size: int) -> bytes:
  content = _read_at(path, offset, size)
  if len(content) < size:
    raise OSError(f"{path} ends within it")
  return content


def _read_at(path: pathlib.Path, offset: int, size: int) -> bytes:
  with open(path, "rb") as file:
    file.seek(offset)
    return file.read(size)


def _list_zip(path: pathlib.Path) -> Iterator[_Entry]:
  try:
    archive = zipfile.ZipFile(path)  # Closed with the last of its entries.
  except zipfile.BadZipFile as error:
    raise ValueError(f"{path}: not a whole zip file ({error})") from error
  for info in archive.infolist():
    # As some programs on Windows write them.
    name = info.filename.replace("\\", "/")
    problem = ""
    if stat.S_ISLNK(info.external_attr >> 16):
      problem = _LINK
    elif info.flag_bits & 1:
      problem = "is encrypted"
    if not name.endswith("/"):
      read = functools.partial(_read_zip_member, archive, info)
      yield _Entry(name, read, problem)


def _read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
  try:
    return archive.read(info)
  except (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
  ) as error:
    raise OSError(f"damaged in the archive: {error}") from error
