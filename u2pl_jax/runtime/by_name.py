"""Finds the modules of a package by the names they own, their `NAMES`."""

import importlib
import pkgutil
import types


def modules(package: str) -> tuple[types.ModuleType, ...]:
  """The modules of a package that own names, in the order of theirs.

  Args:
    package: full name, such as "u2pl_jax.models.encoders".
  """
  path = importlib.import_module(package).__path__
  names = sorted(module.name for module in pkgutil.iter_modules(path))
  found = (importlib.import_module(f"{package}.{name}") for name in names)
  return tuple(module for module in found if hasattr(module, "NAMES"))


def torch_modules(package: str) -> tuple[types.ModuleType, ...]:
  """Those of them that know weights in PyTorch's format."""
  return tuple(m for m in modules(package) if hasattr(m, "TORCH_RULES"))


def names(package: str) -> tuple[str, ...]:
  """All that a config may call the modules of a package."""
  return tuple(name for module in modules(package) for name in module.NAMES)


def find(package: str, key: str, name: str) -> types.ModuleType:
  """The module that owns a name.

  Args:
    package: see `modules`.
    key: of the config, for the error.
    name: one of `names(package)`, or the full name of a module elsewhere, such
      as "my_package.my_encoder".

  Raises:
    ValueError: there is none; one line with the names there are.
  """
  for module in modules(package):
    if name in module.NAMES:
      return module
  if "." in name:
    try:
      return importlib.import_module(name)
    except ModuleNotFoundError as error:
      raise ValueError(f"{key}={name!r}: {error}") from error
  raise ValueError(
    f"{key}={name!r}: expected one of {', '.join(names(package))}, or the full"
    " name of a module"
  )
