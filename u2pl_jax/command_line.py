"""Checks the command line, so that each mistake gets one line that names it."""

import difflib
import pathlib
import runpy
from collections.abc import Sequence

from ml_collections import config_dict

from u2pl_jax import workdir

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
    argv: the command line without the program.

  Raises:
    FileNotFoundError, ValueError: one line that names the file, the argument,
      or an unknown key and the nearest one there is.
  """
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
