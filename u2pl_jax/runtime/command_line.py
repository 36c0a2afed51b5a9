"""Checks the command line, so that each mistake gets one line that names it."""

import contextlib
import difflib
import logging
import pathlib
import re
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import config_dict

from u2pl_jax.runtime import workdir

# Presets over other keys: setting them alone would only change their name.
_PRESETS = ("method", "recipe")


def _load(value: str) -> config_dict.ConfigDict:
  """The config of "--config=FILE:ARGUMENT"."""
  path, _, arg = value.partition(":")
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"--config={path}: no such file")
  get_config = runpy.run_path(path).get("get_config")
  if get_config is None:
    raise ValueError(f"--config={path}: the file defines no get_config")
  return get_config(arg)


def _values_of(argv: Sequence[str], flag: str) -> list[str]:
  """Values given to `flag`, as "--flag=value" or "--flag value"."""
  values = []
  for word, following in zip(argv, [*argv[1:], ""], strict=True):
    name, has_value, value = word.lstrip("-").partition("=")
    if word.startswith("-") and name == flag:
      values.append(value if has_value else following)
  return values


def check_config_flags(argv: Sequence[str]) -> None:
  """Checks --config=FILE:ARGUMENT and every --config.key=value.

  Args:
    argv: the command line without the program; with --help it is fine.

  Raises:
    FileNotFoundError, ValueError: one line that names the file, the argument,
      or an unknown key and the nearest one there is.
  """
  if any(word.lstrip("-").startswith("help") for word in argv):
    return
  files = _values_of(argv, "config")
  if len(files) != 1:
    raise ValueError(
      f"--config is given {len(files)} times, not once; e.g."
      " --config=configs/synthetic.py"
    )
  known = workdir.flatten(_load(files[0]).to_dict())
  for word in argv:
    if not word.lstrip("-").startswith("config."):
      continue
    key = word.lstrip("-").partition("=")[0].removeprefix("config.")
    if key in _PRESETS:
      raise ValueError(
        f"--config.{key}: {key} is a preset over other keys; set it in the"
        f" argument, --config={files[0].partition(':')[0]}:{key}=VALUE"
      )
    if key not in known:
      near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
      raise ValueError(
        f"unknown config key {key!r}; the nearest is {near[0]!r}"
      )


def check_together(given: Mapping[str, Any]) -> None:
  """Checks flags of main.py that depend on each other.

  Args:
    given: every flag's value by name.

  Raises:
    ValueError: one line that names the flag at fault.
  """
  if not given["workdir"] and not given["dry_run"]:
    raise ValueError("--workdir=DIR is missing; only --dry_run does without")
  evaluates = given["mode"] == "eval"
  if given["profile"] and (given["dry_run"] or evaluates):
    raise ValueError(
      "--profile goes with training, not --mode=eval or a dry run"
    )
  if given["dry_run"] and evaluates:
    raise ValueError("--dry_run compiles training; leave --mode=eval out")
  if given["profile"] and "://" in given["workdir"]:
    raise ValueError(
      f"--profile writes to a local folder, not to --workdir={given['workdir']}"
    )
  for flag in ("state", "save_predictions"):
    if given[flag] and not evaluates:
      raise ValueError(f"--{flag} goes with --mode=eval")


def parse_profile(text: str | None) -> tuple[int, int] | None:
  """Reads --profile=START:STOP; None for None.

  Raises:
    ValueError: it is something else, or not 0 <= START < STOP.
  """
  if text is None:
    return None
  match = re.fullmatch(r"(\d+):(\d+)", text)
  if match is None or int(match[1]) >= int(match[2]):
    raise ValueError(
      f"--profile={text}: must be START:STOP with 0 <= START < STOP; e.g."
      " --profile=100:105 traces the updates 101 to 105"
    )
  return int(match[1]), int(match[2])


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Ends the program with "error: ..." if the body raises one of our errors.

  These have one line, which says what to do. Any other goes its way, since
  then the whole of it helps; --verbosity=1 shows where ours come from.
  """
  try:
    yield
  except (ValueError, OSError, FloatingPointError) as error:
    if "\n" in str(error).strip():
      raise
    logging.debug("traceback", exc_info=True)
    sys.exit(f"error: {error}")
