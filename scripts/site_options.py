"""Tables of settings for the pages of the site, drawn from the code.

Nothing about a setting is written twice: its name, default and range are those
of its options class, and its meaning is the comment beside its declaration.
"""

import dataclasses
import importlib
import inspect
import math
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

from u2pl_jax.methods import method
from u2pl_jax.runtime import options

_FIELD = re.compile(r"^  (\w+): ([^=#]+?)(?: = |$)")
_COMMENT = re.compile(r"^  # (.*)$")


def options_table(name: str) -> str:
  """The Markdown table of all settings of a module or class.

  Args:
    name: full name of an options class; or of a module that has some, as
      `OPTIONS`, `SECTIONS` or `Options`.

  Raises:
    ValueError: nothing of that name has settings.
  """
  rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
  for cls in find_classes(name):
    about = _meanings(cls)
    defaults = cls.defaults()
    for field in dataclasses.fields(cls):
      allowed = _allowed(field.metadata, defaults[field.name])
      cells = (
        _code(cls.key(field.name)), _value(defaults[field.name]), allowed,
        about.get(field.name, ""),
      )  # fmt: skip
      rows.append("| " + " | ".join(map(_escape, cells)) + " |")
  if len(rows) == 2:
    return "No settings of its own."
  return "\n".join(rows)


def recipes_table(name: str) -> str:
  """The Markdown table of what each recipe of a method sets.

  Args:
    name: full name of the method's module.
  """
  published = method.Published()
  recipes = importlib.import_module(name).recipes(published)
  keys = dict.fromkeys(key for recipe in recipes.values() for key in recipe)
  rows = [
    "| key | " + " | ".join(map(_code, recipes)) + " |",
    "|---" * (len(recipes) + 1) + "|",
  ]
  for key in keys:
    cells = [_code(key)] + [_value(recipe[key]) for recipe in recipes.values()]
    rows.append("| " + " | ".join(map(_escape, cells)) + " |")
  return "\n".join(rows)


def find_classes(name: str) -> tuple[type[options.Options], ...]:
  """The options classes of a module or class; see `options_table`."""
  try:
    found = importlib.import_module(name)
  except ModuleNotFoundError:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
  if isinstance(found, types.ModuleType):
    for attribute in ("OPTIONS", "SECTIONS"):
      if hasattr(found, attribute):
        return tuple(getattr(found, attribute))
    found = getattr(found, "Options", None)
  if not (inspect.isclass(found) and issubclass(found, options.Options)):
    raise ValueError(f"{name} has no options class")
  return (found,)


def _meanings(cls: type[options.Options]) -> dict[str, str]:
  """Name -> comment, of the class that declares the setting or a base."""
  found = {}
  for base in reversed(cls.__mro__):
    if dataclasses.is_dataclass(base) and base is not options.Options:
      found |= dict(_comments(inspect.getsource(base)))
  return found


def _comments(source: str) -> Iterator[tuple[str, str]]:
  """Names of fields with the comment above them, or behind them."""
  above = []
  for line in source.splitlines():
    if comment := _COMMENT.match(line):
      above.append(comment[1])
      continue
    if field := _FIELD.match(line):
      _, _, behind = line.partition("  # ")
      if text := " ".join(above) or behind:
        yield field[1], text
    above = []


def _allowed(rules: Mapping[str, Any], default: Any) -> str:
  if isinstance(default, bool):
    return "`True`, `False`"
  if rules.get("choices"):
    return ", ".join(map(_value, rules["choices"]))
  low = rules.get("minimum", -math.inf)
  high = rules.get("maximum", math.inf)
  above = rules.get("above", -math.inf)
  if above == -math.inf and low > -math.inf and high < math.inf:
    limits = f"{_number(low)} to {_number(high)}"
  else:
    limits = ", ".join(
      f"{sign} {_number(limit)}"
      for sign, limit in ((">", above), ("≥", low), ("≤", high))
      if math.isfinite(limit)
    )
  length = rules.get("length")
  return ", ".join(filter(None, [f"{length} numbers" * bool(length), limits]))


def _value(value: Any) -> str:
  if isinstance(value, float):
    return _code(_number(value))
  if isinstance(value, tuple):
    inner = ", ".join(map(_number, value))
    return _code(f"({inner}{',' * (len(value) == 1)})")
  return _code(value) if str(value) else "none"


def _number(value: Any) -> str:
  return f"{value:.6g}" if isinstance(value, float) else str(value)


def _code(value: Any) -> str:
  return f"`{value}`"


def _escape(cell: str) -> str:
  return cell.replace("|", "\\|")
