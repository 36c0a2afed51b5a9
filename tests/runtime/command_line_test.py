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
