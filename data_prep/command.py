"""What the commands that prepare data have in common."""

import argparse
import sys
from collections.abc import Callable

from u2pl_jax.runtime import interrupt


def add_target_arguments(
  parser: argparse.ArgumentParser, name: str | None = None
) -> None:
  """Adds --data_dir, --name and --overwrite: where a dataset goes.

  Args:
    parser: the parser that gets the arguments.
    name: the default name of the dataset; None if the user has to name it.
  """
  parser.add_argument(
    "--data_dir", required=True, help="folder that holds all datasets"
  )
  parser.add_argument(
    "--name",
    required=name is None,
    default=name,
    help="name of the dataset" + (f"; default: {name}" if name else ""),
  )
  parser.add_argument(
    "--overwrite",
    action="store_true",
    help="replace an existing dataset of this name",
  )


def run(call: Callable[[], object]) -> int:
  """Calls `call` and returns the exit code of the command.

  Faults in files, arguments or the installation go to stderr as a message for
  people, without a traceback: one line for each. So does Ctrl-C, after `call`
  has cleaned up; a second one ends the process at once.
  """
  try:
    with interrupt.raising():
      call()
  except (ValueError, OSError, ImportError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("error: interrupted", file=sys.stderr)
    return interrupt.EXIT_CODE
  return 0
