"""The colors of masks, in pixels and in palettes."""

from collections.abc import Iterator, Mapping

import numpy as np

import u2pl_jax
from data_prep import class_table, examples, mask_files

_UNKNOWN = -1
_MAX_SHOWN = 5


class Lookup:
  """Class ids by color."""

  def __init__(self, ids_by_color: Mapping[class_table.Color, int]):
    self._ids_by_color = ids_by_color
    self._ids_by_code = None

  def read(self, name: str, stored: mask_files.Stored) -> np.ndarray:
    """Returns uint8 [H, W], the class ids of a mask.

    Raises:
      examples.ProblemError: no class is of a color, or it cannot be told.
    """
    if stored.has_holes:
      raise examples.ProblemError(
        f"{name}: is transparent in places; save it over the color of a class"
      )
    if stored.bits > 8:
      raise examples.ProblemError(
        f"{name}: has gray values of 16 bits, which are no colors; "
        "--mask_values=ids reads them"
      )
    ids = np.empty(stored.shape, np.uint8)
    unknown = []
    for codes, result in zip(_code_strips(stored), mask_files.strips(ids)):
      labels = self._table()[codes]
      result[...] = labels
      unknown.append(codes[labels == _UNKNOWN])
    unknown = np.concatenate(unknown)
    if unknown.size:
      values = stored.colors is None and stored.palette is None
      hint = "; --mask_values=ids if gray values are class ids" * values
      raise examples.ProblemError(
        f"{name}: {_describe(unknown)}; no class is of that color, nor is it "
        f"ignored{hint}"
      )
    return ids

  def _table(self) -> np.ndarray:
    """[2^24] int16, made when it is first needed."""
    if self._ids_by_code is None:
      self._ids_by_code = np.full(1 << 24, _UNKNOWN, np.int16)
      for color, label in self._ids_by_color.items():
        self._ids_by_code[_to_codes(np.array(color))] = label
    return self._ids_by_code


class Palettes:
  """What palettes of masks say, while their indices are read.

  They are compared with the colors of the classes, and among each other; not
  if the user said that indices count.
  """

  def __init__(self, table: class_table.ClassTable):
    self._table = table
    self._seen = {}

  def check(
    self, name: str, palette: np.ndarray, used: np.ndarray, lookup: np.ndarray
  ):
    """Raises if colors at the indices in use say something else than these.

    Args:
      name: the mask.
      palette: uint8 [256, 3] RGB.
      used: [n] indices of pixels.
      lookup: the class id of each index, 255 or -1 for none.

    Raises:
      examples.ProblemError: they do.
    """
    if self._table.mask_values == "ids":
      return
    colors = {int(i): tuple(map(int, palette[i])) for i in used}
    # A gray palette shows indices, and says nothing of classes.
    if any(colors) and all(colors[i] == (i, i, i) for i in colors):
      return
    _check_grays(name, colors, lookup)
    for index, color in colors.items():
      other = self._table.ids_by_color.get(color, lookup[index])
      if other != lookup[index]:
        raise examples.ProblemError(
          f"{name}: palette index {index} is {self._name(lookup[index])}, but "
          f"its color {list(color)} is that of {self._name(other)}: say "
          "--mask_values=ids if indices count, --mask_values=colors if colors "
          "do"
        )
      first, known = self._seen.setdefault(index, (name, color))
      if known != color:
        raise examples.ProblemError(
          f"{name}: palette index {index} is of color {list(color)}, but in "
          f"{first} of {list(known)}: say --mask_values=ids if indices count, "
          "--mask_values=colors, with a palette in the file of classes, if "
          "colors do"
        )

  def _name(self, label: int) -> str:
    if label == u2pl_jax.IGNORE_LABEL:
      return "ignored"
    return "no class" if label == _UNKNOWN else repr(self._table.names[label])


def _check_grays(
  name: str, colors: Mapping[int, class_table.Color], lookup: np.ndarray
):
  """Raises if gray values that are shown could be class ids just as well.

  Some programs number the gray values of a mask when they write a GIF.
  """
  is_gray = all(len(set(color)) == 1 for color in colors.values())
  grays = {i: color[0] for i, color in colors.items()}
  known = [g for g in grays.values() if g < len(lookup) and lookup[g] >= 0]
  is_black_and_white = grays.items() <= {0: 0, 1: 255}.items()
  if is_gray and len(known) == len(grays) and not is_black_and_white:
    index = next(i for i, gray in grays.items() if gray != i)
    raise examples.ProblemError(
      f"{name}: palette index {index} is shown as gray {grays[index]}, which "
      "can be a class id, too: say --mask_values=ids if indices count; save "
      "the mask as a gray PNG if grays do"
    )


def describe_first(stored: mask_files.Stored) -> str:
  """Names the colors that are not gray, with their pixels."""
  found = []
  for codes in _code_strips(stored):
    red, green, blue = codes >> 16, codes >> 8 & 255, codes & 255
    found.append(codes[(red != green) | (green != blue)])
  return _describe(np.concatenate(found))


def _code_strips(stored: mask_files.Stored) -> Iterator[np.ndarray]:
  """Yields the packed colors of some rows after others."""
  if stored.colors is not None:
    yield from map(_to_codes, mask_files.strips(stored.colors))
    return
  palette = stored.palette
  if palette is None:
    palette = np.repeat(np.arange(256)[:, None], 3, axis=1)
  codes = _to_codes(palette)
  for part in mask_files.strips(stored.values):
    yield codes[part]


def _to_codes(pixels: np.ndarray) -> np.ndarray:
  """Packs RGB, [..., 3] in [0, 255], into [...] int32."""
  red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
  return (red << 16) | (green << 8) | blue


def _describe(codes: np.ndarray) -> str:
  """Describes pixels by their colors, packed in `codes`."""
  values, counts = np.unique(codes, return_counts=True)
  order = np.argsort(-counts, kind="stable")
  shown = ", ".join(
    f"[{values[i] >> 16}, {values[i] >> 8 & 255}, {values[i] & 255}] "
    f"({counts[i]} pixels)"
    for i in order[:_MAX_SHOWN]
  )
  more = len(values) - _MAX_SHOWN
  return f"color {shown}" + (f" and {more} more" if more > 0 else "")
