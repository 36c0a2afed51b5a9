"""Images without masks from folders beside a tree."""

import os
import pathlib
from collections.abc import Sequence

from data_prep.layouts import endings, files, tree


def locate(root: pathlib.Path, folder: str) -> pathlib.Path:
  """Returns the folder that the user means.

  Raises:
    FileNotFoundError: there is none.
  """
  given = pathlib.Path(folder).expanduser()
  for path in (root / given, given):
    if path.is_dir():
      return path
  raise FileNotFoundError(f"{folder}: no such folder (--unlabeled={folder})")


def read(
  folders: Sequence[pathlib.Path], taken: Sequence[str]
) -> tuple[list[tree.Entry], list[str]]:
  """Returns the images of `folders`, and what is wrong with them.

  Args:
    folders: where they are, in folders below, too.
    taken: ids of other images; none of these begins like theirs.
  """
  entries, problems = [], []
  tops = {example_id.partition("/")[0] for example_id in taken}
  number = 1
  for folder in folders:
    prefix = "unlabeled"
    while prefix in tops:
      number += 1
      prefix = f"unlabeled_{number}"
    tops.add(prefix)
    found = files.index(folder, endings.IMAGES)
    if not found:
      problems.append(f"{folder}: no images there (--unlabeled)")
    for key, paths in found.items():
      if len(paths) > 1:
        names = " and ".join(map(os.fspath, paths))
        problems.append(f"id {key!r} has several images: {names}")
      entries.append(tree.Entry(f"{prefix}/{key}", paths[0]))
  return entries, problems
