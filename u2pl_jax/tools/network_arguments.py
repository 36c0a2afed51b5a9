"""Flags that say which trained network a tool works with, and on what."""

import argparse

from u2pl_jax.evaluation import protocol
from u2pl_jax.predict import trained

CHECKPOINTS = ("best", "last")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds --workdir and --weights, one of which is needed, and the choice."""
  parser.add_argument("--workdir", metavar="DIR", help="folder of a run")
  parser.add_argument(
    "--weights",
    metavar="FILE|FOLDER",
    help="network to use instead of a run: a folder or .safetensors file of"
    " u2pl_jax.tools.export, or .npz of data_prep.convert_torch_resnet",
  )
  add_choice(parser)


def add_choice(parser: argparse.ArgumentParser) -> None:
  """Adds --checkpoint and --state: which network of a workdir."""
  add_checkpoint(parser)
  parser.add_argument(
    "--state",
    choices=("teacher", "student"),
    help="which network of the run; default: the one that training evaluated",
  )


def add_checkpoint(
  parser: argparse.ArgumentParser, default: str = "best"
) -> None:
  """Adds --checkpoint, which `choose_checkpoint` reads."""
  # Not by `choices`: a file's name deserves a better answer.
  parser.add_argument(
    "--checkpoint",
    metavar="best|last",
    help=f"which checkpoint of the run; default: {default}",
  )


def add_data_dir(
  parser: argparse.ArgumentParser, default: str = "the one used in training"
) -> None:
  """Adds --data_dir; `default`, in words, is where the dataset else is."""
  parser.add_argument(
    "--data_dir",
    metavar="DIR",
    help=f"folder that holds the dataset; default: {default}",
  )


def add_protocol(parser: argparse.ArgumentParser) -> None:
  """Adds --protocol, by which validation images are seen."""
  parser.add_argument(
    "--protocol",
    choices=protocol.KINDS,
    default="whole",
    help="what a network sees of an image; default: whole",
  )


def choose_checkpoint(
  arguments: argparse.Namespace, default: str = "best"
) -> str:
  """One of `CHECKPOINTS`.

  Args:
    arguments: the parsed flags.
    default: where the flag is not given.

  Raises:
    ValueError: --checkpoint is something else; one line.
  """
  chosen = arguments.checkpoint or default
  if chosen not in CHECKPOINTS:
    hint = "; give a file by --weights" if hasattr(arguments, "weights") else ""
    raise ValueError(f"--checkpoint={chosen}: must be best or last{hint}")
  return chosen


def load(arguments: argparse.Namespace) -> trained.Trained:
  """The network that the flags name.

  Args:
    arguments: the parsed flags of `add_arguments`.

  Raises:
    OSError: there is no such run, checkpoint or file; one line.
    ValueError: the file is damaged or holds another network than it says, or
      the flags do not go together; one line.
  """
  chosen = choose_checkpoint(arguments)
  if (arguments.workdir is None) == (arguments.weights is None):
    raise ValueError("give either --workdir=DIR of a run or --weights=FILE")
  if arguments.workdir is not None:
    return trained.load_run(arguments.workdir, chosen, arguments.state)
  for flag in ("checkpoint", "state"):
    if getattr(arguments, flag) is not None:
      raise ValueError(
        f"--{flag} chooses within a --workdir; a file given by --weights holds"
        " one network"
      )
  return trained.load_file(arguments.weights)
