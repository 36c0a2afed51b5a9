"""The command u2pl-jax: which program it starts, and with which words."""

import importlib
import inspect
import sys
import types

import pytest

import u2pl_jax
from u2pl_jax.tools import commands


@pytest.fixture(autouse=True)
def restored_program_name(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["u2pl-jax"])


@pytest.fixture
def started(monkeypatch):
  """(module, words) of each command that is started; none really is."""
  calls = []

  def load(module):
    def call(words):
      calls.append((module, words))
      return 3

    return types.SimpleNamespace(main=call, train=call, evaluate=call)

  monkeypatch.setattr(importlib, "import_module", load)
  return calls


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_row_names_a_function_of_words(name):
  row = commands.COMMANDS[name]
  function = getattr(importlib.import_module(row.module), row.function)
  (words, *_) = inspect.signature(function).parameters
  assert words == "argv"


def test_words_behind_a_command_reach_it_and_its_code_comes_back(started):
  assert commands.main(["predict", "--images=a b", "predict"]) == 3
  assert commands.main(["prepare", "voc", "--help"]) == 3
  assert commands.main(["train"]) == 3
  assert started == [
    ("u2pl_jax.tools.predict", ["--images=a b", "predict"]),
    ("data_prep.voc", ["--help"]),
    ("u2pl_jax.tools.runs", []),
  ]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_all_commands(words, started, capsys):
  assert commands.main(words) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "usage: u2pl-jax COMMAND ..."
  for name in commands.COMMANDS:
    assert any(line.startswith(f"  {name}  ") for line in lines)
  assert max(map(len, lines)) <= 80
  assert not started


@pytest.mark.parametrize("words", [["prepare"], ["prepare", "--help"]])
def test_help_of_a_group_lists_its_commands(words, started, capsys):
  assert commands.main(words) == 0
  printed = capsys.readouterr().out
  assert "prepare cityscapes" in printed and "predict" not in printed
  assert not started


def test_the_version_is_told(started, capsys):
  assert commands.main(["--version"]) == 0
  assert capsys.readouterr().out == f"u2pl_jax {u2pl_jax.__version__}\n"


@pytest.mark.parametrize(
  "words, asked, nearest",
  [
    (["trian", "--workdir=x"], "trian", "train"),
    (["prepare", "vco"], "prepare vco", "prepare voc"),
    (["--workdir=x"], "--workdir=x", ""),
  ],
)
def test_an_unknown_command_is_one_line(words, asked, nearest, started):
  with pytest.raises(SystemExit) as caught:
    commands.main(words)
  message = caught.value.code
  expected = f"error: unknown command {asked!r}; the nearest is '{nearest}"
  assert message.startswith(expected)
  assert "u2pl-jax --help" in message and "\n" not in message
  assert not started


@pytest.mark.parametrize(
  "words, example",
  [
    (["report"], "  u2pl-jax report --workdir=runs/a\n"),
    (["prepare", "voc"], "  u2pl-jax prepare voc "),
  ],
)
def test_a_command_calls_itself_as_the_user_did(words, example, capsys):
  with pytest.raises(SystemExit) as caught:
    commands.main([*words, "--help"])
  assert caught.value.code == 0
  printed = capsys.readouterr().out
  assert printed.startswith(f"usage: u2pl-jax {' '.join(words)} ")
  assert example in printed
  assert "python -m" not in printed
