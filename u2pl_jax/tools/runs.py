"""The commands that train and evaluate: main.py, u2pl-jax train, evaluate."""

import functools
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from u2pl_jax.runtime import command_line, distributed, launch
from u2pl_jax.tools import main_flags, shipped_configs

_TRAIN = """\
Trains a network on labeled and unlabeled images, or resumes a run.

  {} --config=synthetic --workdir=runs/synthetic
  {} --config=voc:366 --workdir=DIR --config.seed=1
  {} --config=voc_1464 --dry_run --topology=v5e:4x4
"""
_EVALUATE = """\
Evaluates a checkpoint of a run.

  {} --config=synthetic --workdir=runs/synthetic
  {} --config=voc_1464 --workdir=DIR --checkpoint=last \\
    --config.eval.protocol=slide --save_predictions=color
  {} --config=voc:366 --weights=FOLDER
"""
# Of the flags that only one of the commands has.
_ABSENT = dict.fromkeys(
  ("profile", "dry_run", "topology")
  + ("checkpoint", "state", "save_predictions", "weights")
)


def train(argv: Sequence[str]) -> None:
  """The command `u2pl-jax train`; `argv` is what stands behind it."""
  _start("train", _TRAIN, argv)


def evaluate(argv: Sequence[str]) -> None:
  """The command `u2pl-jax evaluate`; `argv` is what stands behind it."""
  _start("eval", _EVALUATE, argv)


def main(argv: Sequence[str], about: str) -> None:
  """The program main.py, which has --mode.

  Args:
    argv: the command line without the program.
    about: what --help says before it lists the flags.
  """
  _start(None, about, argv)


def define_flags(
  mode: str | None,
  argv: Sequence[str],
  flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Defines the flags of a command.

  Args:
    mode: "train" or "eval"; None for both, with a flag to choose.
    argv: the command line with the program.
    flag_values: where to.
  """
  main_flags.define_config(flag_values, argv)
  flags.declare_key_flag("config", flag_values)
  flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values)
  if mode is None:
    flags.DEFINE_enum(
      "mode",
      "train",
      ["train", "eval"],
      "Whether to train, or to evaluate a checkpoint.",
      flag_values,
    )
  if mode != "eval":
    _define_training(flag_values)
  if mode != "train":
    _define_evaluation(flag_values)
  _define_processes(flag_values)


def _define_training(flag_values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "profile",
    None,
    "START:STOP, the updates to trace into WORKDIR/profile.",
    flag_values,
  )
  flags.DEFINE_bool(
    "dry_run",
    False,
    "Compile the run, tell what it would take, and end.",
    flag_values,
  )
  flags.DEFINE_string(
    "topology",
    None,
    "Accelerators that --dry_run compiles for and that need not be there, such"
    " as v5e:4x4 or h100:8.",
    flag_values,
  )


def _define_evaluation(flag_values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    "checkpoint",
    "best",
    ["best", "last"],
    "The checkpoint to evaluate.",
    flag_values,
  )
  flags.DEFINE_enum(
    "state",
    None,
    ["teacher", "student"],
    "The network to evaluate; default: the one that training evaluated.",
    flag_values,
  )
  flags.DEFINE_string(
    "save_predictions",
    "",
    "Formats of predictions that an evaluation saves: index, color,"
    " cityscapes.",
    flag_values,
  )
  flags.DEFINE_string(
    "weights",
    None,
    "Network to evaluate instead of a run's: a folder or file of"
    " u2pl_jax.tools.export, or .npz of data_prep.convert_torch_resnet.",
    flag_values,
  )


def _define_processes(flag_values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "coordinator_address",
    None,
    "HOST:PORT of process 0, if there are several processes.",
    flag_values,
  )
  flags.DEFINE_integer(
    "num_processes",
    None,
    "The number of processes.",
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "process_id",
    None,
    "The number of this process, from 0 on.",
    flag_values=flag_values,
  )


def _start(mode: str | None, about: str, argv: Sequence[str]) -> None:
  """Parses the command line, does what it says, and ends the program."""
  argv = [command_line.program("python main.py"), *argv]
  define_flags(mode, argv)
  app.run(
    functools.partial(_main, mode),
    argv,
    flags_parser=functools.partial(_parse, about),
  )


def _parse(about: str, argv: Sequence[str]) -> list[str]:
  """absl's parser, with one line for each mistake, and a help that is short."""
  if {"--help", "-h"} & set(argv):
    _show_help(about, argv[0])
  with command_line.one_line_errors():
    return main_flags.parse(argv)


def _show_help(about: str, program: str) -> NoReturn:
  _, _, listed = flags.FLAGS.module_help(__name__).strip().partition("\n")
  print(about.replace("{}", program), "flags:", listed, sep="\n")
  configs = f"configs: {', '.join(shipped_configs.names())}"
  print("", *textwrap.wrap(configs, width=79), sep="\n")
  sys.exit(0)


def _main(mode: str | None, argv: Sequence[str]) -> None:
  del argv
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  given = _ABSENT | {"mode": mode} | flags.FLAGS.flag_values_dict()
  with distributed.ending_at_once(), command_line.one_line_errors():
    _run(given)


def _run(given: dict[str, Any]) -> None:
  """Trains, evaluates or compiles, as the values of the flags ask."""
  main_flags.check_together(given)
  profile_steps = main_flags.parse_profile(given["profile"])
  topology = given["topology"]
  if topology:
    launch.leave_accelerators()
  launch.start(
    given["coordinator_address"], given["num_processes"], given["process_id"]
  )
  from data_prep import published, synthetic
  from u2pl_jax import dry_run, evaluate, train
  from u2pl_jax.tools import batch_sizes

  workdir = given["workdir"]
  config = main_flags.complete(given["config"].to_dict(), workdir)
  if given["dry_run"]:
    opened = published.stand_in(config["data"]) if topology else None
    config = batch_sizes.rehearse(config, topology, opened)
    return dry_run.report(config, topology, opened)
  data = config["data"]
  if data["name"] in synthetic.MADE_BY_RUNS:
    special = synthetic.MADE_BY_RUNS[data["name"]]
    synthetic.prepare(data["data_dir"], name=data["name"], **special)
  config = batch_sizes.resolve(config, workdir)
  if given["weights"]:
    evaluate.evaluate_weights(config, given["weights"])
  elif given["mode"] == "eval":
    evaluate.evaluate(
      config,
      workdir,
      given["checkpoint"],
      network=given["state"],
      save_predictions=given["save_predictions"],
    )
  else:
    train.train_and_evaluate(config, workdir, profile_steps=profile_steps)
