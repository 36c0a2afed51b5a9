"""Flags that say which trained network a tool works with."""

import argparse

from u2pl_jax.predict import trained


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds --workdir or --checkpoint, --which and --state."""
  source = parser.add_mutually_exclusive_group(required=True)
  source.add_argument("--workdir", metavar="DIR", help="of a run of main.py")
  source.add_argument(
    "--checkpoint",
    metavar="FILE",
    help=".safetensors of u2pl_jax.tools.export, or .npz of"
    " data_prep.convert_torch_resnet",
  )
  add_choice(parser)


def add_choice(parser: argparse.ArgumentParser) -> None:
  """Adds --which and --state: which network of a workdir."""
  parser.add_argument(
    "--which",
    choices=("best", "last"),
    help="checkpoint of the workdir; default: best",
  )
  parser.add_argument(
    "--state",
    choices=("teacher", "student"),
    help="network of the workdir; default: the one that training evaluated",
  )


def load(arguments: argparse.Namespace) -> trained.Trained:
  """The network that the flags name.

  Args:
    arguments: parsed, of `add_arguments`.

  Raises:
    OSError: there is no such run, checkpoint or file; one line.
    ValueError: it is damaged or another network than it says, or a flag goes
      with --workdir only; one line.
  """
  if arguments.workdir is not None:
    return trained.load_run(
      arguments.workdir, arguments.which or "best", arguments.state
    )
  for flag in ("which", "state"):
    if getattr(arguments, flag) is not None:
      raise ValueError(
        f"--{flag} chooses within a --workdir; a file given by --checkpoint"
        " holds one network"
      )
  return trained.load_file(arguments.checkpoint)
