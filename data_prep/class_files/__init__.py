"""Files that name classes and say what the values of masks mean."""

import pathlib
from collections.abc import Callable, Sequence

from data_prep import class_table
from data_prep.class_files import exports, listings, own, source

_READERS: dict[str, Callable[[pathlib.Path], class_table.ClassTable]] = {
  "classes.json": own.read,
  "labelmap.txt": listings.read_labelmap,
  "class_names.txt": listings.read_names,
  "labels.txt": listings.read_names,
  "_classes.csv": listings.read_pixel_values,
  "label_classes.json": exports.read_classes,
  "obj_class_to_machine_color.json": exports.read_machine_colors,
  "objectInfo150.txt": listings.read_object_info,
}
# Names of the files that are looked for, in order.
NAMES = tuple(_READERS)


def read(file: pathlib.Path) -> class_table.ClassTable:
  """Reads a file of classes, of a kind that its name or else its content tells.

  Raises:
    FileNotFoundError: there is no file.
    OSError: it cannot be read.
    ValueError: it is unusable; the message names file, line and remedy.
  """
  if not file.is_file():
    raise FileNotFoundError(
      f"{file}: no such file; name the classes in it or by --class_names"
    )
  reader = _READERS.get(file.name) or _guess_reader(file)
  try:
    return reader(file)
  except ValueError as error:
    if str(error).startswith(str(file)):
      raise
    raise ValueError(f"{file}: {error}") from error


def find(folder: pathlib.Path, given: str = "") -> pathlib.Path | None:
  """Returns the file of classes in a folder; None if there is none.

  Args:
    folder: where to look, not in folders below.
    given: path, in `folder` or else in the working folder, instead of looking.

  Raises:
    FileNotFoundError: there is no file of the name that is given.
    ValueError: two files say different things, or one is unusable.
  """
  if given:
    path_given = pathlib.Path(given).expanduser()
    for path in (folder / path_given, path_given):
      if path.is_file():
        return path
    raise FileNotFoundError(
      f"{folder / path_given}: no such file (--classes={given})"
    )
  files = [folder / name for name in NAMES if (folder / name).is_file()]
  return choose(files) if files else None


def choose(files: Sequence[pathlib.Path]) -> pathlib.Path:
  """Returns the file that says most, of one or more that agree.

  Raises:
    ValueError: two say different things, or one is unusable.
  """
  if len(files) == 1:
    return files[0]
  tables = [read(file) for file in files]
  best = max(range(len(files)), key=lambda i: bool(_meaning(tables[i])))
  for file, table in zip(files, tables):
    has_other_meaning = _meaning(table) not in (None, _meaning(tables[best]))
    if table.names != tables[best].names or has_other_meaning:
      raise ValueError(
        f"{files[best]} and {file} say different things about the classes: "
        "choose one by --classes=FILE"
      )
  return files[best]


def _meaning(table: class_table.ClassTable) -> object:
  """Returns what a file says of values in masks; None if nothing at all."""
  says = (
    table.mask_values,
    table.ids_by_color,
    # 255 is ignored unless a file says otherwise.
    {v: i for v, i in table.ids_by_value.items() if not v == i == 255},
  )
  return (*says, table.threshold) if any(says) else None


def _guess_reader(
  file: pathlib.Path,
) -> Callable[[pathlib.Path], class_table.ClassTable]:
  if file.suffix.lower() == ".json":
    return own.read
  if file.suffix.lower() == ".csv":
    return listings.read_pixel_values
  lines = [line for _, line in source.read_lines(file)]
  if any(map(listings.is_labelmap_line, lines)):
    return listings.read_labelmap
  if lines and listings.is_object_info_header(lines[0]):
    return listings.read_object_info
  return listings.read_names
