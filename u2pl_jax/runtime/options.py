"""Settings of a part, declared once: default, meaning and allowed values.

What can be set about a part is a frozen dataclass beside the code that reads
it, derived from `Options`:

  @dataclasses.dataclass(frozen=True, kw_only=True)
  class OptimOptions(options.Options):
    SECTION = "optim"

    learning_rate: float = options.setting(0.001, above=0)  # Of the encoder.

The config's section of that name is made from it (`defaults`), and read back
into it (`read`), so that a new setting is one line there and its use.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self


def setting(
  default: Any,
  *,
  choices: Sequence[Any] | None = None,
  minimum: float = -math.inf,
  maximum: float = math.inf,
  above: float = -math.inf,
  length: int | None = None,
) -> Any:
  """A field of an options class, with the values it may have.

  Args:
    default: its value where nothing else is said; a mapping from names to
      numbers makes a setting of more of them, for each of which the limits
      hold.
    choices: the only values allowed.
    minimum, maximum: the range of a number, both included.
    above: a limit that a number must exceed.
    length: of a tuple; the limits then hold for each of its members.
  """
  rules = {
    "choices": choices,
    "minimum": minimum,
    "maximum": maximum,
    "above": above,
    "length": length,
    "is_mapping": isinstance(default, Mapping),
  }
  if rules["is_mapping"]:  # One for each, as a dict can be changed.
    return dataclasses.field(
      default_factory=lambda: dict(default), metadata=rules
    )
  return dataclasses.field(default=default, metadata=rules)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Base of all options classes.

  Raises:
    ValueError: a value is not allowed; one line that names its key.
  """

  SECTION: ClassVar[str] = ""  # Of the config; "" for its top level.

  def __post_init__(self):
    for field in dataclasses.fields(self):
      _check(self.key(field.name), getattr(self, field.name), field.metadata)
    self.check()

  def check(self) -> None:
    """Rules between several values; raises ValueError that names a key."""

  @classmethod
  def key(cls, name: str) -> str:
    """How the config calls a setting, like "optim.learning_rate"."""
    return f"{cls.SECTION}.{name}" if cls.SECTION else name

  @classmethod
  def defaults(cls) -> dict[str, Any]:
    """Name -> default, in the order of their declaration."""
    return {
      field.name: field.default_factory()
      if field.default is dataclasses.MISSING
      else field.default
      for field in dataclasses.fields(cls)
    }

  @classmethod
  def read(cls, config: Mapping[str, Any]) -> Self:
    """The options that a config asks for.

    Args:
      config: the whole config, whose lists may stand for tuples.

    Raises:
      ValueError: a setting is unknown, missing or out of range; one line.
    """
    if cls.SECTION and cls.SECTION not in config:
      raise ValueError(f"{cls.SECTION} is missing from the config")
    return cls.make(config[cls.SECTION] if cls.SECTION else config)

  @classmethod
  def make(cls, section: Mapping[str, Any]) -> Self:
    """The options of one section; see `read`."""
    names = [field.name for field in dataclasses.fields(cls)]
    if cls.SECTION:
      for name in section:
        if name not in names:
          raise ValueError(unknown_key(cls.key(name), map(cls.key, names)))
    values = {}
    for name in names:
      if name not in section:
        raise ValueError(f"{cls.key(name)} is missing from the config")
      values[name] = _plain(section[name])
    return cls(**values)

  def to_section(self) -> dict[str, Any]:
    """Name -> value, what `make` reads."""
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


def unknown_key(key: str, known: Sequence[str]) -> str:
  """The line for a key that does not exist, with the nearest that does."""
  line = f"unknown config key {key!r}"
  near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.0)
  return f"{line}; the nearest is {near[0]!r}" if near else line


def _plain(value: Any) -> Any:
  """Lists as tuples; mappings, ConfigDicts too, as dicts."""
  if isinstance(value, list | tuple):
    return tuple(map(_plain, value))
  return dict(value.items()) if hasattr(value, "items") else value


def _check(key: str, value: Any, rules: Mapping[str, Any]) -> None:
  """Raises ValueError, which names the key, if a value can not be right."""
  if not rules:
    return
  if rules["is_mapping"]:
    if not isinstance(value, Mapping):
      raise ValueError(f"{key}={value!r}: must be names with a number each")
    for name, number in value.items():
      _check(f"{key}.{name}", number, {**rules, "is_mapping": False})
    return
  if rules["choices"] is not None and value not in rules["choices"]:
    allowed = ", ".join(map(str, rules["choices"]))
    raise ValueError(f"{key}={value!r}: expected one of {allowed}")
  members = value if isinstance(value, tuple) else (value,)
  if rules["length"] is not None and len(members) != rules["length"]:
    raise ValueError(f"{key}={value}: must be {rules['length']} numbers")
  low, high, above = rules["minimum"], rules["maximum"], rules["above"]
  for member in members:
    if not isinstance(member, int | float):
      continue
    if not (low <= member <= high and member > above):
      raise ValueError(f"{key}={value}: must be {_describe(low, high, above)}")


def _describe(low: float, high: float, above: float) -> str:
  if above > -math.inf:
    return f"> {above}" + (f" and <= {high}" if high < math.inf else "")
  return f"in [{low}, {high}]" if high < math.inf else f">= {low}"
