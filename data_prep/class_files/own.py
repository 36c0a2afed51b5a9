"""classes.json: names, and where wanted what the values of masks mean.

{"names": ["ground", "road"],        by class id
 "palette": [[0, 0, 0], [9, 9, 9]],  RGB by class id, also in masks
 "other_colors": {"road": [[8, 8, 8]]},
 "ignore_colors": [[255, 255, 255]],
 "mask_values": "ids",               or "colors", "binary"
 "values": {"0": "ignore", "7": "road", "8": "road", "11": 0},
 "threshold": 128,                   of binary masks
 "ignore_label": 255}
"""

import difflib
import pathlib
from collections.abc import Mapping

import u2pl_jax
from data_prep import class_table
from data_prep.class_files import exports, source

_KEYS = (
  "names", "palette", "other_colors", "ignore_colors", "mask_values", "values",
  "threshold", "ignore_label",
)  # fmt: skip


def read(file: pathlib.Path) -> class_table.ClassTable:
  """Reads classes.json; a list or other form of classes is read, too.

  Raises:
    OSError: it cannot be read.
    ValueError: it is unusable.
  """
  content = source.read_json(file)
  if isinstance(content, list) or not _is_own(content):
    return exports.read_classes(file)
  _check(file, content)
  values = content.get("values", {})
  names = content.get("names") or _names_of(values)
  palette = content.get("palette", ())
  return class_table.make(
    names,
    palette=palette,
    mask_values=content.get("mask_values", ""),
    colors=_list_colors(names, content) if palette else (),
    ids_by_value={
      int(value): _find_id(value, meaning, names)
      for value, meaning in values.items()
    },
    threshold=content.get("threshold"),
  )


def _is_own(content: object) -> bool:
  """Whether this is our form, or nothing that can be taken for another."""
  if not isinstance(content, dict) or not content:
    return True
  return "names" in content or isinstance(content.get("values"), dict)


def _names_of(values: Mapping[str, object]) -> list[str]:
  """Returns the names that values give, in their order."""
  texts = [m for m in values.values() if isinstance(m, str)]
  names = [t for t in dict.fromkeys(texts) if t.lower() != "ignore"]
  if any(name.isdigit() for name in names):
    raise ValueError("values gives ids, but there are no names")
  return names


def _find_id(value: str, meaning: object, names: list[str]) -> int:
  try:
    return class_table.find_id(meaning, names)
  except ValueError as error:
    raise ValueError(f"values: {value}: {error}") from error


def _check(file: pathlib.Path, content: object):
  """Raises ValueError if a part of the file is not well formed."""
  names = content.get("names") if isinstance(content, dict) else None
  is_named = isinstance(content, dict) and "names" not in content and content
  if not is_named and not _are_names(names):
    raise ValueError(f'{file}: must hold {{"names": [the class names]}}')
  for key in content:
    close = difflib.get_close_matches(key, _KEYS, 1, 0.8)
    if key not in _KEYS and close:
      raise ValueError(f"{file}: unknown key {key!r}; rather {close[0]!r}?")
  ignored = content.get("ignore_label", u2pl_jax.IGNORE_LABEL)
  if ignored != u2pl_jax.IGNORE_LABEL:
    raise ValueError(
      f"{file}: ignore_label is {ignored}, must be 255; of another value, say "
      f'"values": {{"{ignored}": "ignore", ...}}'
    )
  if content.get("mask_values", "") not in class_table.MASK_VALUES:
    raise ValueError(f"{file}: mask_values must be ids, colors or binary")
  values = content.get("values", {})
  if not isinstance(values, dict) or not all(map(_is_value, values)):
    raise ValueError(
      f'{file}: values must be {{"stored value": class, ...}}, such as '
      '{"0": "ignore", "7": "road"}'
    )
  _check_colors(file, content, names or _names_of(values))


def _are_names(value: object) -> bool:
  return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _is_value(text: str) -> bool:
  return text.isdecimal() and int(text) <= class_table.MAX_VALUE


def _check_colors(
  file: pathlib.Path, content: Mapping[str, object], names: list[str]
):
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


def _are_colors(value: object) -> bool:
  return (
    isinstance(value, list)
    and all(isinstance(c, list) and len(c) == 3 for c in value)
    and all(type(v) is int and 0 <= v <= 255 for c in value for v in c)
  )


def _list_colors(
  names: list[str], content: Mapping[str, object]
) -> list[tuple[list[int], int]]:
  """Returns pairs of each color that is given, and its class id or 255."""
  pairs = [(color, i) for i, color in enumerate(content["palette"])]
  for name, colors in content.get("other_colors", {}).items():
    pairs += [(color, names.index(name)) for color in colors]
  for color in content.get("ignore_colors", []):
    pairs.append((color, u2pl_jax.IGNORE_LABEL))
  return pairs
