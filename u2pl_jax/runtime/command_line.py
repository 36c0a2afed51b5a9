"""What all commands of this project share: their parser, how they fail."""

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator


def make_parser(module: str, description: str) -> argparse.ArgumentParser:
  """A parser without arguments, for `python -m MODULE`.

  Args:
    module: full name of the module, such as "u2pl_jax.tools.export".
    description: its docstring, which --help shows as it is.
  """
  return argparse.ArgumentParser(
    prog=f"python -m {module}",
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Ends the program with "error: ..." if the body raises one of our errors.

  These have one line, which says what to do. Any other error passes through,
  since then its whole traceback helps; --verbosity=1 of main.py shows where
  ours come from.

  Raises:
    SystemExit: the line, which Python prints to stderr; exit code 1.
  """
  try:
    yield
  except (ValueError, OSError, FloatingPointError, ImportError) as error:
    # The import machinery, other than we, says which module it is about.
    is_internal = isinstance(error, ImportError) and error.name is not None
    if is_internal or "\n" in str(error).strip():
      raise
    logging.debug("traceback", exc_info=True)
    sys.exit(f"error: {error}")
