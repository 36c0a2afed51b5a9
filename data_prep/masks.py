"""Masks as they come from a source: to class ids, or why not.

Nothing is guessed where a mask can mean two things: it is refused, and the
message names the options that settle it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

import u2pl_jax
from data_prep import (
  class_table,
  examples,
  mask_binary,
  mask_colors,
  mask_files,
)

MASK_ENDINGS = mask_files.ENDINGS

_IGNORED = u2pl_jax.IGNORE_LABEL
_UNKNOWN = -1
# Elsewhere it is a value, or an index, that is shown transparent.
_CHANNEL_MODES = ("LA", "RGB", "RGBA")
_MAX_SHOWN = 5


def make_reader(
  table: class_table.ClassTable,
) -> Callable[[examples.File], examples.Mask]:
  """Returns a function from the file of a mask to the mask.

  Reading a mask raises `examples.ProblemError` if it holds what no class is
  given for, or what can mean two things. What palettes say is compared among
  all masks that the function made.

  Raises:
    ValueError: the table gives a color two meanings that masks may need.
  """
  if table.unclear_colors and table.mask_values in ("", "colors"):
    raise ValueError(
      f"the file of classes gives color {list(table.unclear_colors[0])} two "
      "meanings; that does for masks of class ids only (--mask_values=ids)"
    )
  lookup = mask_colors.Lookup(table.ids_by_color)
  palettes = mask_colors.Palettes(table)

  def make_mask(file: examples.File) -> examples.Mask:
    return examples.Mask(
      file.name, lambda: _read_labels(file, table, lookup, palettes)
    )

  return make_mask


def read_values(file: examples.File) -> set[int] | None:
  """Returns the gray values or palette indices of a mask; None of colors.

  Black and white, of one bit or of 16, are 0 and 255.

  Raises:
    examples.ProblemError: the file is missing, broken or of another kind.
  """
  stored = mask_files.read(file)
  if stored.gray is None:
    return None
  values = set(mask_files.find_values(stored.gray).tolist())
  return {v & 255 for v in values} if values == {0, 65535} else values


def settle(
  table: class_table.ClassTable, files: Iterable[examples.File]
) -> class_table.ClassTable:
  """Gives black a class of its own, if the table asks and a mask holds black.

  Args:
    table: of which `asks_for_background` may be true; others are returned.
    files: the masks; files that cannot be read are passed over.

  Raises:
    ValueError: there is but one class without it.
  """
  if not table.asks_for_background:
    return table
  if table.mask_values == "colors" and any(map(_holds_black, files)):
    note = (
      "the file of classes gives black, [0, 0, 0], to no class; as masks hold "
      "it, it is class 0, background"
    )
    colors = {c: i + 1 for c, i in table.ids_by_color.items() if i != _IGNORED}
    colors = {**table.ids_by_color, **colors, class_table.BLACK: 0}
    return dataclasses.replace(
      table,
      names=(class_table.BACKGROUND, *table.names),
      palette=(class_table.BLACK, *table.palette),
      ids_by_color=colors,
      asks_for_background=False,
      notes=(*table.notes, note),
    )
  if len(table.names) < 2:
    raise ValueError(
      f"the file of classes names but one, {table.names[0]!r}, and no mask "
      "holds black, which would be the background: there must be 2 or more"
    )
  return dataclasses.replace(table, asks_for_background=False)


def merge_layers(
  layers: Sequence[tuple[int, examples.File]],
  *,
  name: str = "",
  size: tuple[int, int] | None = None,
  threshold: int = class_table.THRESHOLD,
) -> examples.Mask:
  """Makes one mask of several that are each black and white, of one class.

  Pixels of no layer are class 0, and those of two classes are ignored.

  Args:
    layers: class id and file of each.
    name: what to call the mask in messages; default: the first file's name.
    size: (height, width), needed only where there may be no layers.
    threshold: the least value that is white.
  """
  name = name or (layers[0][1].name if layers else "a mask without layers")
  return examples.Mask(name, lambda: _merge(layers, name, size, threshold))


def _merge(
  layers: Sequence[tuple[int, examples.File]],
  name: str,
  size: tuple[int, int] | None,
  threshold: int,
) -> examples.Labels:
  owner = None if size is None else np.full(size, _UNKNOWN, np.int16)
  first, is_turned, conversions = name, False, {}
  for label, file in layers:
    stored = mask_files.read(file)
    is_white, done = mask_binary.cut(file.name, stored, threshold)
    if owner is None:
      owner = np.full(stored.shape, _UNKNOWN, np.int16)
      first = file.name
    if owner.shape != stored.shape:
      (height, width), (rows, columns) = stored.shape, owner.shape
      raise examples.ProblemError(
        f"{file.name}: has {width} x {height} pixels, but {first} "
        f"{columns} x {rows}: all labels of an image must have its size"
      )
    is_free = (owner == _UNKNOWN) | (owner == label)
    owner[is_white & is_free] = label
    is_claimed = is_white & ~is_free
    owner[is_claimed] = _IGNORED
    if is_claimed.any():
      done = (*done, "pixels of two labels ignored")
    is_turned |= stored.is_turned
    conversions |= dict.fromkeys(done)
  if owner is None:
    raise examples.ProblemError(f"{name}: no label is drawn, and no size known")
  owner[owner == _UNKNOWN] = 0
  return examples.Labels(
    owner.astype(np.uint8),
    is_upright=is_turned,
    conversions=tuple(conversions),
  )


def _holds_black(file: examples.File) -> bool:
  try:
    stored = mask_files.read(file)
  except examples.ProblemError:
    return False
  if stored.colors is not None:
    return not stored.colors.any(axis=2).all()
  present = mask_files.find_values(stored.values)
  if stored.palette is None:
    return 0 in present
  return not stored.palette[present].any(axis=1).all()


def _read_labels(
  file: examples.File,
  table: class_table.ClassTable,
  lookup: mask_colors.Lookup,
  palettes: mask_colors.Palettes,
) -> examples.Labels:
  stored = mask_files.read(file)
  png = None
  if table.mask_values == "binary":
    is_white, conversions = mask_binary.cut(file.name, stored, table.threshold)
    ids = is_white.astype(np.uint8)
  elif stored.is_lossy:
    raise examples.ProblemError(
      f"{file.name}: is of a format that changes values, as JPEG does: "
      "--mask_values=binary reads it if it is black and white; else save masks "
      "as PNG"
    )
  elif _holds_colors(stored, table):
    ids = lookup.read(file.name, stored)
    conversions = ("colors to class ids",)
  else:
    ids, conversions = _read_ids(file.name, stored, table, palettes)
    png = stored.png if ids is stored.values else None
  return examples.Labels(ids, png, stored.is_turned, conversions)


def _holds_colors(
  stored: mask_files.Stored, table: class_table.ClassTable
) -> bool:
  if table.mask_values:
    return table.mask_values == "colors"
  return stored.colors is not None and bool(table.ids_by_color)


def _read_ids(
  name: str,
  stored: mask_files.Stored,
  table: class_table.ClassTable,
  palettes: mask_colors.Palettes,
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns uint8 [H, W] class ids of values, and what was done."""
  values, conversions = stored.gray, []
  if values is None:
    hint = "but no palette is given"
    if table.mask_values == "ids":
      hint = "not ids: --mask_values=colors reads them by a palette"
    raise examples.ProblemError(
      f"{name}: holds colors (mode {stored.mode}), {hint}"
    )
  if stored.doubt:
    raise examples.ProblemError(
      f"{name}: {stored.doubt}; --mask_values=binary reads such masks of black "
      "and white; else save it with 8 bits"
    )
  if stored.has_holes and stored.mode in _CHANNEL_MODES:
    raise examples.ProblemError(f"{name}: is transparent in places")
  if stored.colors is not None:
    conversions.append("three equal channels read as ids")
  if values.min(initial=0) < 0:
    raise examples.ProblemError(
      f"{name}: label value {values.min()}; must not be below 0"
    )
  if values.max(initial=0) > class_table.MAX_VALUE:
    raise examples.ProblemError(
      f"{name}: label value {values.max()}; must not be above "
      f"{class_table.MAX_VALUE}"
    )
  counts = mask_files.count_values(values)
  lookup = _make_lookup(table, len(counts))
  present = np.flatnonzero(counts)
  if stored.palette is not None:
    palettes.check(name, stored.palette, present, lookup)
  _check_meaning(name, present, lookup, table)
  unknown = present[lookup[present] == _UNKNOWN]
  if unknown.size:
    raise examples.ProblemError(
      f"{name}: {_describe(unknown, counts[unknown], table)}"
    )
  if values.dtype == np.uint8 and (lookup[present] == present).all():
    return values, tuple(conversions)
  if (lookup[present] != present).any():
    conversions.append("values mapped to classes")
  if stored.bits > 8:
    conversions.append("16 bits to 8")
  ids = np.empty(values.shape, np.uint8)
  small = lookup.astype(np.uint8)
  for part, result in zip(mask_files.strips(values), mask_files.strips(ids)):
    result[...] = small[part]
  return ids, tuple(conversions)


def _make_lookup(table: class_table.ClassTable, length: int) -> np.ndarray:
  """Returns [length] int16, the class id, 255 or unknown of each value."""
  ids = table.ids_by_value or {i: i for i in range(len(table.names))}
  lookup = np.full(max(length, class_table.MAX_VALUE + 1), _UNKNOWN, np.int16)
  lookup[_IGNORED] = _IGNORED
  for value, label in ids.items():
    lookup[value] = label
  return lookup[:length]


def _check_meaning(
  name: str,
  present: np.ndarray,
  lookup: np.ndarray,
  table: class_table.ClassTable,
):
  """Raises if 255 may mean the second of two classes as well as ignored."""
  is_settled = table.mask_values == "ids" or _IGNORED in table.ids_by_value
  if is_settled or len(table.names) != 2 or _IGNORED not in present:
    return
  if 1 not in lookup[present]:
    what = f"no {1 if not table.ids_by_value else table.names[1]!r}"
    raise examples.ProblemError(
      f"{name}: holds 255, but {what}: say --mask_values=binary if 255 is the "
      "second class, --mask_values=ids if it is ignored"
    )


def _describe(
  values: np.ndarray, counts: np.ndarray, table: class_table.ClassTable
) -> str:
  """Describes values that mean nothing."""
  shown = ", ".join(
    f"{v} ({n} pixels)" for v, n in zip(values[:_MAX_SHOWN], counts)
  )
  more = len(values) - _MAX_SHOWN
  shown += f" and {more} more" if more > 0 else ""
  rule = f"must be below {len(table.names)}, the number of classes, or 255"
  if table.ids_by_value:
    rule = "no class has it, nor is it ignored"
  binary = ""
  if len(table.names) == 2 and not table.ids_by_value:
    binary = "; --mask_values=binary if they are soft edges of black and white"
  return (
    f"label value {shown}; {rule}: name all classes (--class_names), or say "
    f"what it means (--values={values[0]}:NAME or {values[0]}:ignore){binary}"
  )
