"""What the commands that prepare data have in common."""

import argparse
import sys
from collections.abc import Callable


def add_target_arguments(
  parser: argparse.ArgumentParser, name: str | None = None
) -> None:
  """Adds --data_dir, --name and --overwrite: where a dataset goes.

  Args:
    parser: gets the arguments.
    name: the name of the dataset unless given; None if it must be given.
  """
  parser.add_argument("--data_dir", required=True, help="of all datasets")
  parser.add_argument(
    "--name",
    required=name is None,
    default=name,
    help="of the dataset" + (f"; {name} unless given" if name else ""),
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace a dataset of this name"
  )


def run(call: Callable[[], object]) -> int:
  """Calls `call` and returns the exit status of a command that does so.

  What is wrong with files, arguments or the installation goes to stderr as a
  message for people, without a traceback.
  """
  try:
    call()
  except (ValueError, OSError, ImportError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("error: interrupted", file=sys.stderr)
    return 130
  return 0
