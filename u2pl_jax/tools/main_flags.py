"""The flags of runs that need more than a name: --config, --profile.

Whatever is wrong with a command line is told in one line that names the flag.
"""

import copy
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from etils import epath
from ml_collections import config_dict, config_flags

from u2pl_jax.runtime import command_line, distributed, options, workdir
from u2pl_jax.tools import shipped_configs

# Presets over other keys: setting them alone would only change their name.
_PRESETS = ("method", "recipe")
_EXAMPLE = "e.g. --config=synthetic"
_MISSING = f"--config=NAME is missing; {_EXAMPLE}"
_ALL_MISSING = (
  "--config=NAME and --workdir=DIR are missing; e.g. {} --config=synthetic"
  " --workdir=runs/synthetic (--help tells all flags)"
)


class _ConfigParser(flags.ArgumentParser):
  """Loads a config once and keeps it, to name the keys that there are."""

  def __init__(self, load: flags.ArgumentParser):
    """Wraps the library's parser, which loads a file."""
    self._load = load
    self.file = ""
    self.module: types.ModuleType | None = None  # Of the file.
    self.config: config_dict.ConfigDict | None = None

  def parse(self, path: str) -> config_dict.ConfigDict:
    """The locked config of "NAME:ARGUMENT" or "FILE:ARGUMENT".

    Raises:
      FileNotFoundError, ValueError: one line.
    """
    # The library puts the flag in front of what a ValueError says.
    if self.file:
      raise ValueError(f"given twice, not once; {_EXAMPLE}")
    self.file, colon, argument = path.partition(":")
    found = shipped_configs.find(self.file)
    try:
      self.config = self._load.parse(f"{found}{colon}{argument}")
      self.module = sys.modules[f"{self._load.name}_config"]
    except AttributeError as error:
      if error.name != "get_config":
        raise
      raise ValueError("the file defines no get_config") from error
    except ValueError as error:
      # The library's holds the traceback of the config's own as text.
      raise ValueError(str(error.__context__)) from error.__context__
    return self.config


def define_config(
  flag_values: flags.FlagValues = flags.FLAGS,
  argv: Sequence[str] | None = None,
) -> flags.FlagHolder:
  """Defines --config=NAME:ARGUMENT and --config.key=value.

  Args:
    flag_values: where to.
    argv: the command line with the program; default: that of the process.
  """
  holder = config_flags.DEFINE_config_file(
    "config",
    None,
    "NAME or NAME:ARGUMENT of a config of this package, or of a FILE.py;"
    " --config.KEY=VALUE sets a key.",
    flag_values,
    lock_config=True,
    sys_argv=argv,
  )
  flag = flag_values["config"]
  flag.parser = _ConfigParser(flag.parser)
  return holder


def parse(
  argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS
) -> list[str]:
  """Parses the command line; returns the program's name, all that is left.

  Args:
    argv: the command line with the program; ~ means the home in each word.
    flag_values: flags, `define_config` among them.

  Raises:
    FileNotFoundError, ValueError: one line that names the flag, the file, or
      an unknown key and the nearest one there is.
  """
  if len(argv) == 1:
    raise ValueError(_ALL_MISSING.format(argv[0]))
  argv = [argv[0], *command_line.expand_home(argv[1:])]
  flag = flag_values["config"]
  try:
    rest = flag_values(argv)
  except (AttributeError, KeyError) as error:
    # Of a key, or of a section, that the config does not have.
    key, known = _find_unknown_key(argv, flag.parser.config)
    if key is None:
      raise
    raise ValueError(options.unknown_key(key, known)) from error
  except flags.Error as error:
    if "\n" in str(error):  # A fault in the config's code.
      raise
    message = str(error) if flag.parser.file else _MISSING
    raise ValueError(message) from error
  if not flag.parser.file:
    raise ValueError(_MISSING)
  if len(rest) > 1:
    raise ValueError(f"unexpected argument {rest[1]!r}")
  _check_presets(flag)
  return rest


def _find_unknown_key(
  argv: Sequence[str], config: config_dict.ConfigDict | None
) -> tuple[str | None, list[str]]:
  """The first key on the command line that a config lacks, and those it has."""
  if config is None:
    return None, []
  known = workdir.flatten(config.to_dict())
  given = (re.match(r"--?(?:no)?config\.([\w.]+)", word) for word in argv)
  keys = [match[1] for match in given if match and match[1] not in known]
  sections = {key.rpartition(".")[0] for key in known}
  return next((k for k in keys if k not in sections), None), list(known)


def _check_presets(flag: flags.Flag) -> None:
  """Raises ValueError if a key is set that only an argument can set."""
  for key in _PRESETS:
    if key in flag.override_values:
      raise ValueError(
        f"--config.{key}: {key} is a preset over other keys; set it in the"
        f" argument, --config={flag.parser.file}:{key}=VALUE"
      )


def complete(
  config: Mapping[str, Any],
  workdir_path: str | None,
  flag_values: flags.FlagValues = flags.FLAGS,
) -> dict[str, Any]:
  """Fills in what a config file leaves to the data or the machine.

  Such a file defines, beside get_config,

    AUTOMATIC           {"data.crop_size": (0, 0), ...}: keys that may be left
                        open, and the value of each that says so
    complete(config)    returns the nested dict with these filled in

  A run that has a checkpoint goes on with the values that it began with.

  Args:
    config: nested dict, with all that the command line sets.
    workdir_path: of the run; None or "" for none.
    flag_values: flags, --config parsed among them.

  Raises:
    ValueError, OSError: one line, of the file's `complete` or the workdir.
  """
  module = flag_values["config"].parser.module
  if not hasattr(module, "complete"):
    return dict(config)
  config, saved = copy.deepcopy(dict(config)), {}
  if workdir_path and workdir.holds_checkpoint(epath.Path(workdir_path)):
    read = workdir.read_config(epath.Path(workdir_path))
    saved = workdir.with_tuples(workdir.flatten(read))
  for key, left_open in module.AUTOMATIC.items():
    section, name = key.split(".")
    if key in saved and config.get(section, {}).get(name) == left_open:
      config[section][name] = saved[key]
  before = workdir.flatten(config)
  completed = module.complete(config)
  after = workdir.flatten(completed)
  chosen = [
    f"{key}={after[key]}".replace(" ", "")
    for key in module.AUTOMATIC
    if key in after and after[key] != before[key]
  ]
  if chosen:
    file = flag_values["config"].parser.file
    distributed.show(f"chosen by {file}: {' '.join(chosen)}")
  return completed


def check_together(given: Mapping[str, Any]) -> None:
  """Checks flags that depend on each other.

  Args:
    given: the value of every flag, by name; None of those that a command
      lacks.

  Raises:
    ValueError: one line that names the flag at fault.
  """
  evaluates = given["mode"] == "eval"
  if given["weights"]:
    _check_weights(given, evaluates)
  elif not given["workdir"] and not given["dry_run"]:
    raise ValueError(
      "--workdir=DIR is missing, e.g. --workdir=runs/1; only --dry_run does"
      " without"
    )
  if given["profile"] and (given["dry_run"] or evaluates):
    raise ValueError(
      "--profile goes with training, not --mode=eval or a dry run"
    )
  if given["topology"] and not given["dry_run"]:
    raise ValueError("--topology goes with --dry_run")
  if given["dry_run"] and evaluates:
    raise ValueError("--dry_run compiles training; leave --mode=eval out")
  if given["profile"] and "://" in given["workdir"]:
    raise ValueError(
      f"--profile writes to a local folder, not to --workdir={given['workdir']}"
    )
  for flag in ("state", "save_predictions"):
    if given[flag] and not evaluates:
      raise ValueError(f"--{flag} goes with --mode=eval")


def _check_weights(given: Mapping[str, Any], evaluates: bool) -> None:
  if not evaluates:
    raise ValueError(
      "--weights goes with --mode=eval; a run starts from a network by"
      " --config.model.pretrained"
    )
  for flag in ("workdir", "state", "save_predictions"):
    if given[flag]:
      raise ValueError(
        f"--{flag} goes with a run; --weights={given['weights']} is one network"
      )


def parse_profile(text: str | None) -> tuple[int, int] | None:
  """Reads --profile=START:STOP; None for None.

  Raises:
    ValueError: the text is something else, or not 0 <= START < STOP.
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
