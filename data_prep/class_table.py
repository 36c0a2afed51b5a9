"""The classes of a dataset, and what the values in its masks mean."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

import u2pl_jax
from u2pl_jax.data import palettes

# "": class ids in gray and palette masks, colors in RGB masks.
MASK_VALUES = ("", "ids", "colors", "binary")
THRESHOLD = 128
MAX_VALUE = 65535  # Of masks with 16 bits.
BLACK = (0, 0, 0)
BACKGROUND = "background"

_IGNORED = u2pl_jax.IGNORE_LABEL
# As many gray values as this, 255 among them, are rather a soft edge.
_MAX_CLASSES_GUESSED = 200
_MAX_SHOWN = 8
# A first class of such a name is what value 0 means before it is taken away.
_ZERO_NAMES = (
  "background", "_background_", "__background__", "bg", "other", "others",
  "void", "unlabeled", "unlabelled", "ignore", "__ignore__",
)  # fmt: skip

Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class ClassTable:
  """What the masks of a dataset hold.

  Attributes:
    names: [K] names, by class id.
    palette: [K] RGB colors in [0, 255], by class id; for display.
    mask_values: one of `MASK_VALUES`.
    ids_by_color: the class id, or 255, of each color; empty where no colors
      are given.
    ids_by_value: the class id, or 255, of each stored gray value or palette
      index; empty where these are class ids themselves. A 255 that is not in
      it is ignored.
    threshold: of binary masks, the least value in [1, 255] of the second
      class; smaller values, as soft edges have, are the first.
    unclear_colors: colors that are given for several classes.
    asks_for_background: whether black, of which no class is given, becomes a
      class of its own if masks hold it; see `masks.settle`.
    notes: what was decided about the classes, in a line each, for the user.
  """

  names: tuple[str, ...]
  palette: tuple[Color, ...]
  mask_values: str = ""
  ids_by_color: Mapping[Color, int] = dataclasses.field(default_factory=dict)
  ids_by_value: Mapping[int, int] = dataclasses.field(default_factory=dict)
  threshold: int = THRESHOLD
  unclear_colors: tuple[Color, ...] = ()
  asks_for_background: bool = False
  notes: tuple[str, ...] = ()


def make(
  names: Sequence[str],
  *,
  palette: Sequence[Sequence[int]] = (),
  mask_values: str = "",
  colors: Sequence[tuple[Sequence[int], int]] = (),
  ids_by_value: Mapping[int, int] | None = None,
  threshold: int | None = None,
  asks_for_background: bool = False,
  notes: Sequence[str] = (),
) -> ClassTable:
  """Makes a table of well-formed parts that fit each other.

  Args:
    names: [K] names, by class id.
    palette: [K] RGB colors, by class id; empty for VOC's.
    mask_values: one of `MASK_VALUES`.
    colors: pairs of a color and its class id, or 255.
    ids_by_value: see `ClassTable`.
    threshold: see `ClassTable`; None for the default. One that is given says
      that masks are binary.
    asks_for_background: see `ClassTable`.
    notes: see `ClassTable`.

  Raises:
    ValueError: names are too few, too many or the same, or parts exclude each
      other.
  """
  names = tuple(names)
  twice = [name for i, name in enumerate(names) if name in names[:i]]
  if twice:
    raise ValueError(
      f"the class name {twice[0]!r} stands there twice; no two the same"
    )
  if not all(name.strip() for name in names):
    raise ValueError("a class name is empty")
  if not 2 - asks_for_background <= len(names) <= 255:
    shown = f" ({', '.join(names[:_MAX_SHOWN])})" if len(names) < 2 else ""
    raise ValueError(f"{len(names)} class names{shown}: must be 2 to 255")
  meanings = {}
  for color, label in colors:
    meanings.setdefault(tuple(color), []).append(label)
  table = ClassTable(
    names=names,
    palette=tuple(map(tuple, palette or palettes.voc_palette(len(names)))),
    mask_values=mask_values,
    ids_by_color={color: labels[0] for color, labels in meanings.items()},
    ids_by_value=dict(ids_by_value or {}),
    unclear_colors=tuple(c for c in meanings if len(set(meanings[c])) > 1),
    asks_for_background=asks_for_background,
    notes=tuple(notes),
  )
  table = table if threshold is None else _cut_at(table, threshold)
  return _check(table)


def adjust(
  table: ClassTable | None,
  *,
  class_names: Sequence[str] = (),
  mask_values: str = "",
  values: str = "",
  threshold: int | None = None,
  reduce_zero_label: bool = False,
) -> ClassTable | None:
  """Applies options of the command line, which go before a file of classes.

  Args:
    table: what the file says; None where there is none.
    class_names: [K] names by class id, instead of all that the file says.
    mask_values: one of `MASK_VALUES`; "" leaves what the file says.
    values: "0:ignore,7:road,8:road": classes of stored values, by name or id.
      Values that it leaves out keep the meaning that the file's own map gives
      them; without such a map they have none.
    threshold: the least value of the second class in binary masks.
    reduce_zero_label: whether 0 is ignored, and classes start at value 1.

  Returns:
    The table; None where neither a file nor an option tells the classes, see
    `of_values`.

  Raises:
    ValueError: options exclude each other or the file.
  """
  if class_names:
    table = make(class_names)
  given = parse_values(values) if values else {}
  if table is None and given:
    table = make(_names_of(given))
  if table is None and (mask_values == "binary" or threshold is not None):
    table = make((BACKGROUND, "foreground"), mask_values="binary")
  if table is None:
    return None
  if mask_values:
    table = dataclasses.replace(table, mask_values=mask_values)
  if given:
    ids = {v: find_id(name, table.names) for v, name in given.items()}
    table = dataclasses.replace(
      table, ids_by_value={**table.ids_by_value, **ids}
    )
  if threshold is not None:
    table = _cut_at(table, threshold)
  if reduce_zero_label:
    table = _reduce_zero_label(table)
  return _check(table)


def of_values(
  values: Collection[int],
  *,
  mask_values: str = "",
  reduce_zero_label: bool = False,
) -> ClassTable:
  """Makes the table of masks that no file describes.

  0 and 255 alone are black and white; 0 to K - 1, with or without 255, are
  class ids.

  Args:
    values: all gray values and palette indices that the masks hold.
    mask_values: as in `adjust`.
    reduce_zero_label: as in `adjust`.

  Raises:
    ValueError: the values can mean several things; names the options.
  """
  present = sorted(set(map(int, values)))
  if mask_values == "binary":
    return make((BACKGROUND, "foreground"), mask_values="binary")
  if present == [0, _IGNORED] and not (mask_values or reduce_zero_label):
    return make((BACKGROUND, "foreground"), mask_values="binary")
  classes = [v for v in present if v != _IGNORED]
  if reduce_zero_label:
    classes = [v - 1 for v in classes if v]
  count = len(classes)
  is_plain = classes == list(range(count)) and count >= 2
  is_soft = _IGNORED in present and count >= _MAX_CLASSES_GUESSED
  if mask_values == "colors" or not is_plain or is_soft:
    shown = ", ".join(map(str, present[:_MAX_SHOWN]))
    more = f" and {len(present) - _MAX_SHOWN} more"
    raise ValueError(
      f"no file tells the classes, and the masks hold {shown or 'no value'}"
      f"{more if len(present) > _MAX_SHOWN else ''}: give --class_names=A,B,.."
      ". for the values 0, 1, ...; --values=VALUE:NAME,... for others (NAME "
      "may be ignore); --mask_values=binary for black and white with soft "
      "edges; --reduce_zero_label where 0 is ignored; or --classes=FILE"
    )
  table = make([f"class {v}" for v in range(count)], mask_values=mask_values)
  return _reduce_zero_label(table) if reduce_zero_label else table


def parse_values(text: str) -> dict[int, str]:
  """Returns what "0:ignore,7:road" says of each value.

  Raises:
    ValueError: the text is of another form.
  """
  given = {}
  for part in filter(None, (part.strip() for part in text.split(","))):
    match = re.fullmatch(r"(\d{1,5})\s*[:=]\s*(\S.*)", part)
    if not match or int(match[1]) > MAX_VALUE:
      raise ValueError(
        f"--values: {part!r} is not VALUE:NAME, such as 7:road or 0:ignore"
      )
    if given.setdefault(int(match[1]), match[2]) != match[2]:
      raise ValueError(f"--values: {match[1]} has two meanings")
  return given


def find_id(meaning: object, names: Sequence[str]) -> int:
  """Returns the class id, or 255, that a name, id, "ignore" or None means.

  A text is a class of that name before it is "ignore" or the digits of an id.

  Raises:
    ValueError: there is no such class.
  """
  if isinstance(meaning, str):
    text = meaning.strip()
    if text in names:
      return names.index(text)
    if text.lower() in ("ignore", "ignored", "__ignore__"):
      return _IGNORED
    meaning = int(text) if re.fullmatch(r"\d{1,3}", text) else meaning
  if meaning is None or meaning == _IGNORED:
    return _IGNORED
  if type(meaning) is int and 0 <= meaning < len(names):
    return meaning
  shown = ", ".join(names[:_MAX_SHOWN]) + ", ..." * (len(names) > _MAX_SHOWN)
  raise ValueError(
    f"{meaning!r} is no class ({shown}), no id below {len(names)} and not "
    '"ignore"'
  )


def _names_of(given: Mapping[int, str]) -> list[str]:
  """Returns the classes that --values names, in the order of mention."""
  targets = dict.fromkeys(given.values())
  names = [t for t in targets if t.lower() not in ("ignore", "ignored")]
  if any(name.isdigit() for name in names):
    raise ValueError(
      "--values: gives ids, but no names: give names in it, or --class_names"
    )
  return names


def _cut_at(table: ClassTable, threshold: int) -> ClassTable:
  if type(threshold) is not int or not 1 <= threshold <= 255:
    raise ValueError(f"threshold is {threshold}: must be in 1 to 255")
  if table.mask_values not in ("", "binary"):
    raise ValueError(
      f"threshold is for binary masks; mask_values is {table.mask_values}"
    )
  return dataclasses.replace(table, mask_values="binary", threshold=threshold)


def _reduce_zero_label(table: ClassTable) -> ClassTable:
  if table.ids_by_value or table.mask_values in ("colors", "binary"):
    other = table.mask_values or "other values"
    raise ValueError(
      "--reduce_zero_label is for masks of class ids from 1; the classes are "
      f"given for {other}"
    )
  if table.names[0].lower() in _ZERO_NAMES:
    raise ValueError(
      f"--reduce_zero_label ignores value 0, but the first class name is "
      f"{table.names[0]!r}: leave it out of the names, or leave out the flag"
    )
  ids = {v: v - 1 for v in range(1, len(table.names) + 1)}
  ids[0] = ids[_IGNORED] = _IGNORED
  return dataclasses.replace(table, ids_by_value=ids)


def _check(table: ClassTable) -> ClassTable:
  """Returns the table if its parts go together.

  Raises:
    ValueError: they do not.
  """
  if table.mask_values == "binary":
    if len(table.names) != 2:
      raise ValueError(f"binary masks are of 2 classes, not {len(table.names)}")
    if table.ids_by_value:
      raise ValueError("binary masks are cut at a threshold, not by values")
  if table.mask_values == "colors":
    if not table.ids_by_color:
      raise ValueError("masks of colors need a file of classes with a palette")
    if table.ids_by_value:
      raise ValueError("masks of colors have no values: leave values out")
  return table
