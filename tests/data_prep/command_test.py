"""How every preparation command ends."""

import argparse
import importlib

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
