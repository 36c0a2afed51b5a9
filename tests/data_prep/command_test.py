"""How every preparation command ends."""

import argparse
import importlib
import os
import signal
import subprocess
import sys

import pytest

from data_prep import command


@pytest.mark.parametrize(
  "error, status, message",
  [
    (None, 0, ""),
    (ValueError("a list is wrong"), 1, "error: a list is wrong\n"),
    (FileNotFoundError("no such folder"), 1, "error: no such folder\n"),
    (ImportError("pip install it"), 1, "error: pip install it\n"),
    (KeyboardInterrupt(), 130, "error: interrupted\n"),
  ],
  ids=str,
)
def test_failures_become_a_message_and_a_status(capsys, error, status, message):
  def call():
    if error:
      raise error

  assert command.run(call) == status
  assert capsys.readouterr().err == message


_PREPARES = """
import os, sys
from data_prep import command

def prepare():
  try:
    print("reading", flush=True)
    os.read(os.pipe()[0], 1)
  finally:
    print("cleaning up", flush=True)
    if sys.argv[1:]:
      os.read(os.pipe()[0], 1)

sys.exit(command.run(prepare))
"""


@pytest.mark.parametrize(
  "presses, line", [(1, "error: interrupted\n"), (2, "interrupted\n")]
)
def test_ctrl_c_leaves_no_traceback_and_a_second_one_ends_at_once(
  presses, line
):
  argv = [sys.executable, "-c", _PREPARES, *["hangs"][: presses - 1]]
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
  with subprocess.Popen(argv, text=True, **pipes) as process:
    for said in ("reading\n", "cleaning up\n")[:presses]:
      assert process.stdout.readline() == said
      process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == line


def test_a_command_is_ended_while_it_is_imported():
  argv = [sys.executable, "-m", "data_prep.folder", "--help"]
  environ = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
  with subprocess.Popen(argv, text=True, env=environ, **pipes) as process:
    for line in process.stderr:
      if line.split()[-1] == "data_prep":  # The package; its module is next.
        break
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stdout.read() == ""
    said = [x for x in process.stderr if not x.startswith("import time:")]
    assert said == ["interrupted\n"]


def test_mistakes_in_the_program_are_not_hidden():
  with pytest.raises(KeyError):
    command.run(lambda: {}["absent"])


def test_name_is_optional_where_there_is_a_usual_one():
  parser = argparse.ArgumentParser()
  command.add_target_arguments(parser, "voc")
  args = parser.parse_args(["--data_dir=data", "--overwrite"])
  assert vars(args) == {"data_dir": "data", "name": "voc", "overwrite": True}
  parser = argparse.ArgumentParser()
  command.add_target_arguments(parser)
  with pytest.raises(SystemExit):
    parser.parse_args(["--data_dir=data"])


@pytest.mark.parametrize(
  "name",
  [
    "cityscapes",
    "convert_torch_resnet",
    "folder",
    "make_splits",
    "synthetic",
    "voc",
  ],
)
def test_help_has_an_example(name, capsys):
  module = importlib.import_module(f"data_prep.{name}")
  with pytest.raises(SystemExit, match="0"):
    module.main(["--help"])
  assert f"\n  python -m data_prep.{name} " in capsys.readouterr().out
