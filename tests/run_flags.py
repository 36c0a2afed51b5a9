"""The command lines of main.py, parsed as it does, without a run."""

import sys

import pytest
from absl import flags

from u2pl_jax.tools import main_flags, runs

# For tests that call `parse`: ml_collections loads config files so.
IGNORES = pytest.mark.filterwarnings(
  "ignore:the load_module:DeprecationWarning"
)


def parse(mode, argv):
  """Parses the command line of main.py, and no more.

  Args:
    mode: "train" or "eval"; None where a flag says so.
    argv: what stands behind the program.

  Returns:
    The config, locked.
  """
  # ml_collections loads each file into the module of the one before.
  sys.modules.pop("config_config", None)
  values = flags.FlagValues()
  argv = ["main.py", *argv]
  runs.define_flags(mode, argv, values)
  main_flags.parse(argv, values)
  given = dict.fromkeys(
    ("profile", "dry_run", "topology", "checkpoint", "state", "weights")
    + ("save_predictions",)
  )
  given |= {"mode": mode} | values.flag_values_dict()
  main_flags.check_together(given)
  return given["config"]
