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
  return tuple(sorted(_packages()))


def _packages() -> dict[str, bool]:
  """Name of each method -> whether it is a package."""
  return {
    module.name: module.ispkg
    for module in pkgutil.iter_modules(__path__)
    if module.name not in _PARTS
  }


def find(name: str) -> types.ModuleType:
  """The module of a method; of a package its module `method`.

  Args:
    name: one of `names()`, or the full name of a module elsewhere, such as
      "my_package.my_method".

  Raises:
    ValueError: there is none; one line with the names there are.
  """
  packages = _packages()
  if name in packages:
    place = f"{__name__}.{name}" + (".method" if packages[name] else "")
    return importlib.import_module(place)
  if "." in name:
    try:
      return importlib.import_module(name)
    except ModuleNotFoundError as error:
      raise ValueError(f"method={name!r}: {error}") from error
  raise ValueError(
    f"method={name!r}: expected one of {', '.join(names())}, or the full name"
    " of a module"
  )
