"""JSON files of classes that annotation tools write."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

from data_prep import class_table
from data_prep.class_files import source

_NAME_KEYS = ("name", "class_name", "title", "label", "class")
# What masks of Hasty and CloudFactory hold; 0 is the background there.
_PNG_INDEX = "png_index"
_VALUE_KEYS = (_PNG_INDEX, "value", "pixel_value", "index", "id", "class_id")
_COLOR_KEYS = ("color", "colour", "rgb")
_LIST_KEYS = ("classes", "labels", "categories")
_HELP = (
  'must hold {"names": [the class names]}, a list of {"name", "value" or '
  '"color"}, or {name: value or [r, g, b]}'
)


@dataclasses.dataclass(frozen=True)
class _Class:
  name: str
  value: int | None = None
  color: class_table.Color | None = None


def read_classes(file: pathlib.Path) -> class_table.ClassTable:
  """Reads label_classes.json and its like.

  It is a list of names, or of objects with a name, and a value or a color; or
  {name: value}, {name: color}, {value: name}. A color is [r, g, b], {"r", "g",
  "b"} or "#rrggbb". Without any values masks are of colors.

  Raises:
    OSError: it cannot be read.
    ValueError: it is unusable.
  """
  content = source.read_json(file)
  if isinstance(content, dict):
    lists = [content[key] for key in _LIST_KEYS if key in content]
    content = lists[0] if lists and isinstance(lists[0], list) else content
  classes, zero_is_background = [], False
  if isinstance(content, list):
    classes = [_read_entry(file, entry) for entry in content]
    zero_is_background = any(_PNG_INDEX in e for e in content)
  elif isinstance(content, dict) and all(
    key.isdecimal() and isinstance(name, str) for key, name in content.items()
  ):
    classes = [_Class(name, int(key)) for key, name in content.items()]
  elif isinstance(content, dict):
    classes = [_read_item(file, name, v) for name, v in content.items()]
  if not classes:
    raise ValueError(f"{file}: {_HELP}")
  return _make_table(file, classes, zero_is_background)


def read_machine_colors(file: pathlib.Path) -> class_table.ClassTable:
  """Reads obj_class_to_machine_color.json of Supervisely: {name: [v, v, v]}.

  Masks hold v in each channel; 0 is the background.

  Raises:
    OSError: it cannot be read.
    ValueError: it is unusable.
  """
  content = source.read_json(file)
  if not isinstance(content, dict) or not content:
    raise ValueError(f"{file}: must hold {{name: [value, value, value], ...}}")
  classes = [_read_item(file, name, v) for name, v in content.items()]
  if all(c.color and len(set(c.color)) == 1 for c in classes):
    classes = [_Class(c.name, c.color[0]) for c in classes]
  return _make_table(file, classes, zero_is_background=True)


def _read_entry(file: pathlib.Path, entry: object) -> _Class:
  """Reads an element of a list of classes."""
  if isinstance(entry, str):
    return _Class(entry)
  names = [entry[k] for k in _NAME_KEYS if k in entry] if _is(entry) else []
  if not names or not isinstance(names[0], str):
    raise ValueError(f"{file}: {_shorten(entry)} has no name; the file {_HELP}")
  return _read_item(file, names[0], entry)


def _read_item(file: pathlib.Path, name: str, meaning: object) -> _Class:
  """Reads what is said of a class that is named."""
  color = _to_color(meaning)
  if color is not None:
    return _Class(name, color=color)
  if not _is(meaning):
    if not _is_value(meaning):
      raise ValueError(
        f"{file}: {name!r}: {_shorten(meaning)} is neither a value of 0 to "
        f"{class_table.MAX_VALUE} nor a color"
      )
    return _Class(name, meaning)
  value = next((meaning[k] for k in _VALUE_KEYS if k in meaning), None)
  stated = next((meaning[k] for k in _COLOR_KEYS if k in meaning), None)
  color = _to_color(stated)
  if stated is not None and color is None:
    raise ValueError(f"{file}: {name!r}: {_shorten(stated)} is no color")
  # With colors, other numbers are just those of a database.
  if value is not None and not _is_value(value) and color is None:
    raise ValueError(
      f"{file}: {name!r}: {_shorten(value)} is no value of 0 to "
      f"{class_table.MAX_VALUE}"
    )
  return _Class(name, value if _is_value(value) else None, color)


def _is(value: object) -> bool:
  return isinstance(value, dict)


def _is_value(value: object) -> bool:
  return type(value) is int and 0 <= value <= class_table.MAX_VALUE


def _to_color(value: object) -> class_table.Color | None:
  """Returns the color that a JSON value is, if it is one."""
  if isinstance(value, str):
    match = re.fullmatch("#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?", value)
    return tuple(bytes.fromhex(match[1])) if match else None
  if _is(value) and {"r", "g", "b"} <= value.keys():
    value = [value[channel] for channel in "rgb"]
  if not isinstance(value, list) or len(value) not in (3, 4):
    return None
  if not all(type(v) is int and 0 <= v <= 255 for v in value):
    return None
  return tuple(value[:3])


def _make_table(
  file: pathlib.Path, classes: Sequence[_Class], zero_is_background: bool
) -> class_table.ClassTable:
  values = [c.value for c in classes if c.value is not None]
  colors = [c.color for c in classes if c.color is not None]
  has_values = len(values) == len(classes)
  has_colors = len(colors) == len(classes)
  for found, what in ((values, "value"), (colors, "color")):
    if found and len(found) < len(classes) and not (has_values or has_colors):
      raise ValueError(f"{file}: some classes have a {what}, others none")
  if not has_values:
    return _of_colors(file, classes) if has_colors else _of_names(classes)
  twice = [v for i, v in enumerate(values) if v in values[:i]]
  if twice:
    shown = " and ".join(repr(c.name) for c in classes if c.value == twice[0])
    raise ValueError(f"{file}: {shown} have one value, {twice[0]}")
  notes = []
  is_named = any(c.name.lower() == class_table.BACKGROUND for c in classes)
  if zero_is_background and 0 not in values and not is_named:
    classes = [_Class(class_table.BACKGROUND, 0, class_table.BLACK), *classes]
    notes = [f"{file}: gives 0 to no class; it is class 0, background"]
  classes = sorted(classes, key=lambda c: c.value)
  are_distinct = has_colors and len({c.color for c in classes}) == len(classes)
  return class_table.make(
    [c.name for c in classes],
    palette=[c.color for c in classes] if has_colors else (),
    colors=_to_pairs(classes) if are_distinct else (),
    ids_by_value={c.value: i for i, c in enumerate(classes)},
    notes=notes,
  )


def _of_names(classes: Sequence[_Class]) -> class_table.ClassTable:
  return class_table.make([c.name for c in classes])


def _of_colors(
  file: pathlib.Path, classes: Sequence[_Class]
) -> class_table.ClassTable:
  """Makes the table of masks that hold colors; no two may be the same."""
  by_color: Mapping[class_table.Color, str] = {}
  for c in classes:
    other = by_color.setdefault(c.color, c.name)
    if other != c.name:
      raise ValueError(
        f"{file}: {other!r} and {c.name!r} have one color, {list(c.color)}"
      )
  has_background = class_table.BLACK in by_color or any(
    c.name.lower() == class_table.BACKGROUND for c in classes
  )
  return class_table.make(
    [c.name for c in classes],
    palette=[c.color for c in classes],
    mask_values="colors",
    colors=_to_pairs(classes),
    asks_for_background=not has_background,
  )


def _to_pairs(
  classes: Sequence[_Class],
) -> list[tuple[class_table.Color, int]]:
  return [(c.color, i) for i, c in enumerate(classes)]


def _shorten(value: object) -> str:
  text = repr(value)
  return text if len(text) <= 40 else text[:37] + "..."
