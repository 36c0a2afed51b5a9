"""Methods of training, each a module or package that nothing else names.

`find` gives the module of a method by the name that `config.method` has. What
such a module holds is described in `method`.
"""

import importlib
import pkgutil
import types

# What stands in this folder beside the methods.
_PARTS = ("method", "teacher", "timeline")


def names() -> tuple[str, ...]:
  """The methods of this package."""
  found = (module.name for module in pkgutil.iter_modules(__path__))
  return tuple(sorted(name for name in found if name not in _PARTS))


def find(name: str) -> types.ModuleType:
  """The module of a method.

  Args:
    name: one of `names()`, or the full name of a module elsewhere, such as
      "my_package.my_method".

  Raises:
    ValueError: there is none; one line with the names there are.
  """
  if name in names():
    return importlib.import_module(f"{__name__}.{name}")
  if "." in name:
    try:
      return importlib.import_module(name)
    except ModuleNotFoundError as error:
      raise ValueError(f"method={name!r}: {error}") from error
  raise ValueError(
    f"method={name!r}: expected one of {', '.join(names())}, or the full name"
    " of a module"
  )
