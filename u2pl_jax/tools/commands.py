"""All programs of this project as one command: u2pl-jax COMMAND ..."""

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import u2pl_jax
from u2pl_jax.runtime import command_line, interrupt


class _Command(NamedTuple):
  """What runs a command, and what it does in a few words.

  The function takes the words behind the command's name, and returns the exit
  code.
  """

  about: str
  module: str
  function: str = "main"


# A new command is a row of this table.
COMMANDS = {
  "train": _Command(
    "trains, or resumes what a workdir holds", "u2pl_jax.tools.runs", "train"
  ),
  "evaluate": _Command(
    "evaluates a checkpoint", "u2pl_jax.tools.runs", "evaluate"
  ),
  "predict": _Command(
    "predicts photographs: masks, colors, overlays", "u2pl_jax.tools.predict"
  ),
  "autolabel": _Command(
    "labels images without masks, and ranks them", "u2pl_jax.tools.autolabel"
  ),
  "report": _Command(
    "writes one HTML file of curves, scores and pictures",
    "u2pl_jax.tools.report",
  ),
  "gallery": _Command(
    "shows what a run teaches its student from", "u2pl_jax.tools.gallery"
  ),
  "compare": _Command(
    "shows images of several runs side by side", "u2pl_jax.tools.compare"
  ),
  "export": _Command(
    "writes a network for use elsewhere", "u2pl_jax.tools.export"
  ),
  "prepare folder": _Command(
    "makes a checked dataset of a folder", "data_prep.folder"
  ),
  "prepare voc": _Command("prepares PASCAL VOC 2012", "data_prep.voc"),
  "prepare cityscapes": _Command("prepares Cityscapes", "data_prep.cityscapes"),
  "prepare synthetic": _Command("generates scenes", "data_prep.synthetic"),
  "prepare splits": _Command(
    "draws labeled images, or checks the splits", "data_prep.make_splits"
  ),
  "prepare weights": _Command(
    "converts weights from and to PyTorch", "data_prep.convert_torch_resnet"
  ),
}
_GROUPS = {name.split()[0] for name in COMMANDS if " " in name}
_HELP = ("--help", "-h")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command that the command line names; returns its exit code.

  Args:
    argv: the command line without the program; default: that of the process,
      which Ctrl-C then ends at once.

  Raises:
    SystemExit: one line that names what is wrong with the command line.
  """
  if argv is None:
    interrupt.end_program()
  words = list(sys.argv[1:] if argv is None else argv)
  if words == ["--version"]:
    print(f"u2pl_jax {u2pl_jax.__version__}")
    return 0
  group = words[:1] if words and words[0] in _GROUPS else []
  if len(words) == len(group) or words[len(group)] in _HELP:
    print(_list_commands(*group))
    return 0
  with command_line.one_line_errors():
    name = _find(words[: len(group) + 1])
  command = COMMANDS[name]
  # What the command calls itself in its help.
  sys.argv[0] = f"{command_line.COMMAND} {name}"
  function = getattr(importlib.import_module(command.module), command.function)
  return function(words[len(group) + 1 :])


def _find(words: Sequence[str]) -> str:
  """The name that one or two words are; raises ValueError if they are none."""
  asked = " ".join(words)
  if asked in COMMANDS:
    return asked
  near = difflib.get_close_matches(asked, COMMANDS, n=1, cutoff=0)
  raise ValueError(
    f"unknown command {asked!r}; the nearest is {near[0]!r}"
    f" ({command_line.COMMAND} --help lists all)"
  )


def _list_commands(group: str = "") -> str:
  """The help of all commands, or of those of a group."""
  rows = [
    f"  {name:<20}{command.about}"
    for name, command in COMMANDS.items()
    if name.startswith(group)
  ]
  usage = " ".join(filter(None, (command_line.COMMAND, group)))
  return "\n".join(
    [f"usage: {usage} COMMAND ...", "", *rows, ""]
    + [f"{command_line.COMMAND} COMMAND --help tells the flags of a command."]
  )
