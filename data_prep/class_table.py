"""The classes of a folder of images: names, colors, what mask values mean."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import u2pl_jax
from u2pl_jax.data import palettes

# "": class ids in gray and palette masks, colors in RGB masks.
MASK_VALUES = ("", "ids", "colors", "binary")
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)

Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class ClassTable:
  """What the masks of a folder hold.

  Attributes:
    names: [K] names, by class id.
    palette: [K] RGB colors in [0, 255], by class id; for display.
    mask_values: one of `MASK_VALUES`.
    ids_by_color: the class id, or 255, of each color in the masks; empty
      where no colors are given.
  """

  names: tuple[str, ...]
  palette: tuple[Color, ...]
  mask_values: str
  ids_by_color: Mapping[Color, int]


def read(
  file: pathlib.Path, class_names: Sequence[str] = (), mask_values: str = ""
) -> ClassTable:
  """Reads a file of classes.

  It is JSON: `names`, and where wanted `palette` (RGB by class id),
  `other_colors` ({name: colors that mean this class, too}), `ignore_colors`
  (colors that mean 255) and `mask_values`.

  Args:
    file: the file; it need not exist if `class_names` are given.
    class_names: [K] names, by class id, instead of the file.
    mask_values: one of `MASK_VALUES`; not "": goes before the file's.

  Raises:
    FileNotFoundError: there is no file.
    ValueError: the file is unusable.
  """
  if class_names:
    content = {"names": list(class_names)}
  elif file.is_file():
    content = _load(file)
  else:
    raise FileNotFoundError(
      f"{file}: no such file; name the classes in it or by --class_names"
    )
  names = content["names"]
  if not 2 <= len(names) <= 255 or len(set(names)) < len(names):
    raise ValueError(
      f"{len(names)} class names ({', '.join(names[:5])}, ...): there must be "
      "2 to 255, no two the same"
    )
  values = mask_values or content.get("mask_values", "")
  palette = content.get("palette")
  if values == "binary":
    if len(names) != 2:
      raise ValueError(f"binary masks are of 2 classes, not {len(names)}")
    ids_by_color = {_BLACK: 0, _WHITE: 1}
  else:
    reads_colors = palette and values != "ids"
    ids_by_color = _index_colors(file, content) if reads_colors else {}
  if values == "colors" and not ids_by_color:
    raise ValueError(f"{file}: must hold a palette for masks of colors")
  return ClassTable(
    names=tuple(names),
    palette=tuple(map(tuple, palette or palettes.voc_palette(len(names)))),
    mask_values=values,
    ids_by_color=ids_by_color,
  )


def _load(file: pathlib.Path) -> dict[str, object]:
  """Returns the content of a file of classes whose parts are well formed."""
  try:
    content = json.loads(file.read_text(encoding="utf-8-sig"))
  except ValueError as error:
    raise ValueError(f"{file}: not a JSON file ({error})") from error
  names = content.get("names") if isinstance(content, dict) else None
  if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
    raise ValueError(f'{file}: must hold {{"names": [the class names]}}')
  ignored = content.get("ignore_label", u2pl_jax.IGNORE_LABEL)
  if ignored != u2pl_jax.IGNORE_LABEL:
    raise ValueError(f"{file}: ignore_label is {ignored}, must be 255")
  if content.get("mask_values", "") not in MASK_VALUES:
    raise ValueError(f"{file}: mask_values must be ids, colors or binary")
  palette = content.get("palette")
  if palette is not None and not (
    _are_colors(palette) and len(palette) == len(names)
  ):
    raise ValueError(
      f"{file}: palette must hold {len(names)} colors [r, g, b] of 0 to 255, "
      "one for each name"
    )
  if not _are_colors(content.get("ignore_colors", [])):
    raise ValueError(f"{file}: ignore_colors must be [[r, g, b], ...]")
  others = content.get("other_colors", {})
  if not isinstance(others, dict) or not all(map(_are_colors, others.values())):
    raise ValueError(f"{file}: other_colors must be {{name: [[r, g, b], ...]}}")
  unknown = [name for name in others if name not in names]
  if unknown:
    raise ValueError(f"{file}: other_colors: {unknown[0]!r} is not in names")
  return content


def _are_colors(value: object) -> bool:
  return (
    isinstance(value, list)
    and all(isinstance(c, list) and len(c) == 3 for c in value)
    and all(type(v) is int and 0 <= v <= 255 for c in value for v in c)
  )


def _index_colors(
  file: pathlib.Path, content: Mapping[str, object]
) -> dict[Color, int]:
  """Returns the class id, or 255, of each color that is given."""
  names = content["names"]
  pairs = [(tuple(c), i) for i, c in enumerate(content["palette"])]
  for name, colors in content.get("other_colors", {}).items():
    pairs += [(tuple(color), names.index(name)) for color in colors]
  for color in content.get("ignore_colors", []):
    pairs.append((tuple(color), u2pl_jax.IGNORE_LABEL))
  ids_by_color = {}
  for color, label in pairs:
    if ids_by_color.setdefault(color, label) != label:
      raise ValueError(
        f"{file}: color {list(color)} has two meanings; that does for masks "
        "of class ids only (--mask_values=ids)"
      )
  return ids_by_color
