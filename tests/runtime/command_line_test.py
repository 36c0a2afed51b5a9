"""What all commands share: their parser, how they fail."""

import pytest

from u2pl_jax.runtime import command_line


def test_help_shows_the_docstring_as_it_is(capsys):
  parser = command_line.make_parser("package.tool", "First.\n\n  --a  b\n")
  with pytest.raises(SystemExit):
    parser.parse_args(["--help"])
  printed = capsys.readouterr().out
  assert "usage: python -m package.tool" in printed
  assert "\n  --a  b\n" in printed


@pytest.fixture
def home(monkeypatch):
  monkeypatch.setenv("HOME", "/home/ann")


@pytest.mark.parametrize(
  "word, meant",
  [
    ("~", "/home/ann"),
    ("~/d", "/home/ann/d"),
    ("--workdir=~/r", "/home/ann/r"),
    ("--config.data.data_dir=~", "/home/ann"),
    (
      "--config=~/x.py:mine,pretrained=~/w.npz",
      "/home/ann/x.py:mine,pretrained=/home/ann/w.npz",
    ),
    ("~/a,~/b:~/c", "/home/ann/a,/home/ann/b:/home/ann/c"),
    # Names that have it elsewhere, and homes that there are not.
    ("--images=IMG~1.JPG", "IMG~1.JPG"),
    ("--out=a/~/b", "a/~/b"),
    ("~nobody_of_this_name/x", "~nobody_of_this_name/x"),
    ("--out=gs://bucket/run", "gs://bucket/run"),
  ],
)
def test_a_tilde_is_the_home_wherever_a_path_may_begin(word, meant, home):
  flag = word[: word.index("=") + 1] if word.startswith("--") else ""
  assert command_line.expand_home([word, "-x"]) == [flag + meant, "-x"]


def test_parsers_and_their_commands_know_the_home(home, monkeypatch):
  parser = command_line.make_parser("package.tool", "")
  parser.add_argument("--out")
  command = parser.add_subparsers(dest="command").add_parser("run")
  command.add_argument("file")
  words = ["--out", "~/o", "run", "~/f"]
  expected = {"out": "/home/ann/o", "command": "run", "file": "/home/ann/f"}
  assert vars(parser.parse_args(words)) == expected
  monkeypatch.setattr(command_line.sys, "argv", ["tool", *words])
  assert vars(parser.parse_args()) == expected


@pytest.mark.parametrize(
  "kind", [ValueError, OSError, FloatingPointError, ImportError]
)
def test_our_errors_end_the_program_with_a_line(kind):
  with pytest.raises(SystemExit) as caught, command_line.one_line_errors():
    raise kind("no such thing")
  assert caught.value.code == "error: no such thing"


@pytest.mark.parametrize(
  "error",
  [
    ValueError("two\nlines"),
    KeyError("key"),
    ModuleNotFoundError("No module named 'x'", name="x"),
  ],
)
def test_other_errors_go_their_way(error):
  with pytest.raises(type(error)), command_line.one_line_errors():
    raise error
