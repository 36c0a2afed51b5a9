"""Masks whose pixels are colors: to class ids."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

import u2pl_jax
from data_prep import class_table, examples

_MODES = ("L", "P", "RGB", "RGBA", "1")
_ID_MODES = ("L", "P")
_UNKNOWN = -1
_MAX_COLORS_SHOWN = 5


def make_converter(
  table: class_table.ClassTable,
) -> Callable[[examples.File], examples.Mask]:
  """Returns a function from the file of a mask to the mask.

  Reading the mask raises `examples.ProblemError` if it holds what no class is
  given for, or what can mean two things.
  """
  if table.mask_values == "ids":
    return examples.id_mask
  lookup = _make_lookup(table.ids_by_color)

  def convert(file: examples.File) -> examples.Mask:
    return examples.Mask(file.name, lambda: _read_ids(file, table, lookup))

  return convert


def _make_lookup(ids_by_color: Mapping[class_table.Color, int]) -> np.ndarray:
  """Returns [2^24] int16, the class id of each color code."""
  lookup = np.full(1 << 24, _UNKNOWN, np.int16)
  for color, label in ids_by_color.items():
    lookup[_to_codes(np.array(color))] = label
  return lookup


def _to_codes(pixels: np.ndarray) -> np.ndarray:
  """Packs RGB, [..., 3] in [0, 255], into [...] int32."""
  red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
  return (red << 16) | (green << 8) | blue


def _read_ids(
  file: examples.File, table: class_table.ClassTable, lookup: np.ndarray
) -> examples.Labels:
  content = examples.read(file)
  mask = examples.decode(file, content, ("PNG",), _MODES)
  if not table.mask_values and mask.mode in _ID_MODES:
    _check_meaning(file, mask, len(table.names))
    return examples.id_mask(file).read()
  if not table.mask_values and mask.mode == "1":
    raise examples.ProblemError(
      f"{file.name}: has one bit a pixel; --mask_values=binary reads such masks"
    )
  if not table.ids_by_color:
    raise examples.ProblemError(
      f"{file.name}: holds colors (mode {mask.mode}), but no palette is given"
    )
  if mask.mode == "RGBA" and mask.getextrema()[3] != (255, 255):
    raise examples.ProblemError(f"{file.name}: is transparent in places")
  codes = _to_codes(np.asarray(mask.convert("RGB")))
  labels = lookup[codes]
  unknown = codes[labels == _UNKNOWN]
  if unknown.size:
    raise examples.ProblemError(f"{file.name}: {_describe(unknown)}")
  return examples.Labels(labels.astype(np.uint8))


def _check_meaning(file: examples.File, mask: Image.Image, num_classes: int):
  """Raises if 255 may mean the second of two classes as well as ignored."""
  if num_classes == 2:
    present = np.unique(np.asarray(mask))
    if u2pl_jax.IGNORE_LABEL in present and 1 not in present:
      raise examples.ProblemError(
        f"{file.name}: holds 255, but no 1: say --mask_values=binary if 255 is "
        "the second class, --mask_values=ids if it is ignored"
      )


def _describe(codes: np.ndarray) -> str:
  """Describes pixels whose colors, packed in `codes`, mean nothing."""
  values, counts = np.unique(codes, return_counts=True)
  order = np.argsort(-counts, kind="stable")
  shown = ", ".join(
    f"[{values[i] >> 16}, {values[i] >> 8 & 255}, {values[i] & 255}] "
    f"({counts[i]} pixels)"
    for i in order[:_MAX_COLORS_SHOWN]
  )
  more = len(values) - _MAX_COLORS_SHOWN
  if more > 0:
    shown += f" and {more} more"
  return f"color {shown}; no class is of that color, nor is it ignored"
