"""What all commands of this project share: their parser, how they fail."""

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence

from u2pl_jax.runtime import interrupt

COMMAND = "u2pl-jax"  # See u2pl_jax.tools.commands.


def expand_home(argv: Sequence[str]) -> list[str]:
  """The words with ~ and ~USER as folders wherever a path may begin.

  Shells do so at the beginning of a word only, but a path may also come after
  a flag's name or within its value: --out=~/x, FILE.py:pretrained=~/w.npz.
  """
  return [re.sub(r"(?:^|(?<=[=:,]))~[^/=:,]*", _home, word) for word in argv]


def _home(match: re.Match[str]) -> str:
  return os.path.expanduser(match[0])  # As it is, where there is no such user.


def program(otherwise: str) -> str:
  """How the user calls this program: as a command of ours, or otherwise."""
  name = sys.argv[0]
  return name if name.startswith(f"{COMMAND} ") else otherwise


class _Parser(argparse.ArgumentParser):
  """A parser to which ~ means the home in each argument."""

  def parse_known_args(self, args=None, namespace=None):
    words = sys.argv[1:] if args is None else args
    return super().parse_known_args(expand_home(words), namespace)


def make_parser(module: str, description: str) -> argparse.ArgumentParser:
  """A parser without arguments, for `python -m MODULE`, which knows ~.

  Args:
    module: full name of the module, such as "u2pl_jax.tools.export".
    description: its docstring, which --help shows, with the program called as
      the user calls it.
  """
  itself = f"python -m {module}"
  called = program(itself)
  return _Parser(
    prog=called,
    description=description.replace(itself, called),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )


@contextlib.contextmanager
def offering_data_dir() -> Iterator[None]:
  """Has the error of a dataset that is not there offer --data_dir."""
  try:
    yield
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"{error}, or name its folder by --data_dir"
    ) from error


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Ends the program with "error: ..." if the body raises one of our errors.

  These have one line, which says what to do. Any other error passes through,
  since then its whole traceback helps; --verbosity=1 of main.py shows where
  ours come from. Ctrl-C ends the program at once, with a line and code 130.

  Raises:
    SystemExit: the line, which Python prints to stderr; exit code 1.
  """
  try:
    with interrupt.ending():
      yield
  except (ValueError, OSError, FloatingPointError, ImportError) as error:
    # The import machinery, other than we, says which module it is about.
    is_internal = isinstance(error, ImportError) and error.name is not None
    if is_internal or "\n" in str(error).strip():
      raise
    logging.debug("traceback", exc_info=True)
    sys.exit(f"error: {error}")
