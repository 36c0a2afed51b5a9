"""Files of classes with a class a line."""

import csv
import pathlib
import re
from collections.abc import Sequence

import u2pl_jax
from data_prep import class_table
from data_prep.class_files import source

_LABELMAP_LINE = re.compile(
  r"(?P<name>.+?)\s*:\s*(?P<color>\d+\s*,\s*\d+\s*,\s*\d+)\s*(:.*)?"
)
_NUMBERED_LINE = re.compile(r"\d+\s*[\s:;,=]\s*\S.*")
_IGNORED_NAME = "__ignore__"
_BACKGROUND_NAME = "_background_"
_VALUE_COLUMNS = ("pixel value", "pixel_value", "value", "id")
_CLASS_COLUMNS = ("class", "class name", "class_name", "name", "label")


def is_labelmap_line(text: str) -> bool:
  """Whether a line is of the form label:r,g,b:parts:actions."""
  return bool(_LABELMAP_LINE.fullmatch(text)) and not text.startswith("#")


def is_object_info_header(text: str) -> bool:
  """Whether a line names the columns of ADE20K's objectInfo150.txt."""
  columns = [column.strip().lower() for column in text.split("\t")]
  return "idx" in columns and "name" in columns


def read_labelmap(file: pathlib.Path) -> class_table.ClassTable:
  """Reads labelmap.txt of CVAT: `label:r,g,b:parts:actions`, `#` comments.

  Class ids follow the order of lines; masks are of colors. If black is given
  to no label, and no label is called background, black pixels are asked for.

  Raises:
    OSError: it cannot be read.
    ValueError: it is unusable.
  """
  names, colors, lines = [], [], {}
  for number, text in source.read_lines(file):
    if not text or text.startswith("#"):
      continue
    match = _LABELMAP_LINE.fullmatch(text)
    if not match:
      raise source.fail(
        file,
        number,
        f"{text!r} names no color: write label:r,g,b:: with the color that the "
        "label has in the masks",
      )
    color = tuple(map(int, match["color"].split(",")))
    if max(color) > 255:
      raise source.fail(file, number, f"color {list(color)} is above 255")
    for key in (match["name"], color):
      if key in lines:
        shown = f"label {key!r}" if isinstance(key, str) else f"color {color}"
        raise source.fail(
          file, number, f"{shown} stands in line {lines[key]}, too"
        )
      lines[key] = number
    names.append(match["name"])
    colors.append(color)
  has_background = class_table.BLACK in colors or any(
    name.lower() == class_table.BACKGROUND for name in names
  )
  return class_table.make(
    names,
    palette=colors,
    mask_values="colors",
    colors=list(zip(colors, range(len(colors)))),
    asks_for_background=bool(names) and not has_background,
  )


def read_names(file: pathlib.Path) -> class_table.ClassTable:
  """Reads a list of names, by class id, as of labelme2voc.

  A first line `__ignore__` is of pixels of 255; it, and a first name
  `_background_`, say that 255 is ignored, even of two classes.

  Raises:
    OSError: it cannot be read.
    ValueError: it is unusable.
  """
  lines = source.read_lines(file)
  if lines and all(_NUMBERED_LINE.fullmatch(text) for _, text in lines):
    raise source.fail(
      file,
      1,
      "begins with a number, as all lines do; names alone may stand there, or "
      'say in classes.json: {"values": {"value": "name", ...}}',
    )
  is_ignoring = bool(lines) and lines[0][1] == _IGNORED_NAME
  lines = lines[1:] if is_ignoring else lines
  for number, text in lines:
    if not text:
      raise source.fail(file, number, "empty; ids count lines: remove it")
    if text == _IGNORED_NAME or text.startswith("#"):
      raise source.fail(
        file, number, f"{text!r} is no class name: ids count lines, remove it"
      )
  names = [text for _, text in lines]
  is_ignoring = is_ignoring or names[:1] == [_BACKGROUND_NAME]
  ids = {**{i: i for i in range(len(names))}, u2pl_jax.IGNORE_LABEL: 255}
  return class_table.make(names, ids_by_value=ids if is_ignoring else {})


def read_pixel_values(file: pathlib.Path) -> class_table.ClassTable:
  """Reads _classes.csv of Roboflow: `Pixel Value, Class`, in any order.

  Raises:
    OSError: it cannot be read.
    ValueError: it is unusable.
  """
  rows = csv.reader(
    source.read_text(file).splitlines(), skipinitialspace=True, strict=True
  )
  columns, names = None, {}
  try:
    for row in rows:
      cells = [cell.strip() for cell in row]
      if not any(cells):
        continue
      if columns is None:
        columns = _find_columns(file, rows.line_num, cells)
        continue
      value, name = _read_row(file, rows.line_num, cells, columns)
      if value in names:
        raise source.fail(
          file, rows.line_num, f"value {value} is {names[value]!r}, too"
        )
      names[value] = name
  except csv.Error as error:
    raise source.fail(file, rows.line_num, str(error)) from error
  values = sorted(names)
  return class_table.make(
    [names[value] for value in values],
    ids_by_value={value: i for i, value in enumerate(values)},
  )


def _find_columns(
  file: pathlib.Path, line: int, cells: Sequence[str]
) -> tuple[int, int]:
  """Returns the places of values and classes in a row."""
  titles = [cell.lower() for cell in cells]
  value = next((titles.index(t) for t in _VALUE_COLUMNS if t in titles), None)
  name = next((titles.index(t) for t in _CLASS_COLUMNS if t in titles), None)
  if value is None or name is None:
    raise source.fail(
      file, line, f"is {', '.join(cells)!r}, must be 'Pixel Value, Class'"
    )
  return value, name


def _read_row(
  file: pathlib.Path,
  line: int,
  cells: Sequence[str],
  columns: tuple[int, int],
) -> tuple[int, str]:
  """Returns the value and the class that a row gives."""
  value, name = (cells[c] if c < len(cells) else "" for c in columns)
  if not value.isdecimal() or int(value) > class_table.MAX_VALUE or not name:
    raise source.fail(
      file, line, f"{', '.join(cells)!r} is not a pixel value and a class"
    )
  return int(value), name


def read_object_info(file: pathlib.Path) -> class_table.ClassTable:
  """Reads objectInfo150.txt of ADE20K: value 0 is ignored, 1 the first class.

  A class with several names goes by the first, unless another has that, too.

  Raises:
    OSError: it cannot be read.
    ValueError: it is unusable.
  """
  lines = [(number, text) for number, text in source.read_lines(file) if text]
  if not lines or not is_object_info_header(lines[0][1]):
    raise source.fail(file, 1, "must name the columns Idx and Name, by tabs")
  titles = [title.strip().lower() for title in lines[0][1].split("\t")]
  columns = titles.index("idx"), titles.index("name")
  names = {}
  for number, text in lines[1:]:
    cells = [cell.strip() for cell in text.split("\t")]
    value, name = _read_row(file, number, cells, columns)
    if value in names or not value:
      raise source.fail(
        file, number, f"Idx {value} stands there twice or is that of no class"
      )
    names[value] = name
  values = sorted(names)
  whole = [names[value] for value in values]
  first = [name.split(",")[0].strip() for name in whole]
  ids = {value: i for i, value in enumerate(values)}
  return class_table.make(
    [f if first.count(f) == 1 else w for f, w in zip(first, whole)],
    ids_by_value={0: u2pl_jax.IGNORE_LABEL, **ids},
  )
