"""Methods of training, each a module or package that nothing else names.

What such a module holds is described in `method`.
"""

import types

from u2pl_jax.runtime import by_name


def names() -> tuple[str, ...]:
  """All methods of this package."""
  return by_name.names(__name__)


def find(name: str) -> types.ModuleType:
  """The module of a method; see `by_name.find`.

  Raises:
    ValueError: there is none; one line with the names there are.
  """
  return by_name.find(__name__, "method", name)
