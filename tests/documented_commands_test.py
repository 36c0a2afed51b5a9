"""Commands of README.md and docs/: programs, flags and configs that exist.

A fenced block without a language holds commands; output and trees of files are
`text`. Each command of a program of this project goes through its real parser,
and a config is loaded with the keys that are set. Where nothing stands in front
of a block, all in it works in a clone as it is, or is run by what FOREIGN says;
a comment `<!-- needs: WORD -->` on the line before it says what else it needs.
"""

import argparse
import ast
import importlib
import importlib.util
import pathlib
import re
import shlex

import pytest

from data_prep import synthetic
from tests import run_flags
from u2pl_jax.tools import commands

pytestmark = run_flags.IGNORES

PAGES = [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").rglob("*.md"))]
NEEDS = ("data", "weights", "hardware", "run", "network", "editing")

# Programs beside main.py that need nothing but a clone.
COMPLETE = (
  "data_prep.synthetic", "scripts.site_figures", "scripts/soak.py",
  "scripts/step_exponents.py", "scripts/sweep.py", "u2pl_jax.tools.benchmark",
)  # fmt: skip
# Commands of others, each with a file that runs it and how it stands there.
FOREIGN = {
  "pip install -r requirements.txt": (
    "requirements-dev.txt",
    "-r requirements",
  ),
  "pip install -r requirements-dev.txt": (".ci/run", "-r requirements-dev.txt"),
  "pip wheel --no-deps -w dist .": ("tests/wheel_test.py", "--no-deps"),
  "pip install dist/u2pl_jax-*.whl": ("tests/wheel_test.py", '"install"'),
  "ruff check .": (".ci/run", "ruff check ."),
  "ruff format --check .": (".ci/run", "ruff format --check ."),
  "python -m pytest": (".ci/run", "python -m pytest"),
  "python -m pytest -m slow": (".ci/run", "python -m pytest -m slow"),
  "python -m pytest tests/parity": (".ci/run", "python -m pytest"),
  "python -m pytest tests/parity -m ": (".ci/run", "python -m pytest -m"),
  "python -m mkdocs build --strict": (".ci/run", "mkdocs build --strict"),
  "python -m mkdocs serve": (".ci/run", "mkdocs build"),
}
# What stands for something of the user's own, and a value that can be parsed.
PLACEHOLDERS = (
  (r"\[,\w+(=\w+)?\]", ""),  # Optional words of an argument.
  (r":ARGUMENT\b", ""),
  (r",pretrained=[\w/]+", ""),  # The file is opened as the config is loaded.
  (r"--config=…", "--config=configs/synthetic.py"),
  (r"--format=…", "--format=stablehlo"),
  (r"=N(?= |$)", "=0"),
  (r"\{(\w+)(,\w+)*\}", r"\1"),
)

_BLOCK = re.compile(
  r"(?:^ *<!-- needs: (?P<need>\w+) -->\n)?"
  r"^(?P<indent> *)```(?P<language>[\w-]*)\n(?P<text>.*?)^ *```$",
  re.MULTILINE | re.DOTALL,
)
# Programs that a text speaks of without saying a whole command.
_NAMED = re.compile(
  r"python (main.py( …| --mode=eval)?|-m (?P<module>[\w.]+)|segment.py .*)"
  r"|u2pl-jax (?P<command>[a-z ]+)"
)
_INLINE = re.compile(r"`((?:python|u2pl-jax) [^`]+?)`", re.DOTALL)


def find_blocks(language):
  for page in PAGES:
    for block in _BLOCK.finditer(page.read_text()):
      if block["language"] == language:
        line = page.read_text()[: block.start("text")].count("\n") + 1
        yield pytest.param(block["text"], block["need"], id=f"{page}:{line}")


def find_inline():
  for page in PAGES:
    prose = _BLOCK.sub("", page.read_text())
    for found in _INLINE.finditer(prose):
      command = " ".join(found[1].split())
      yield pytest.param(command, id=f"{page}: {command}")


def split(text):
  """The commands of a block, each as its words."""
  for pattern, value in PLACEHOLDERS:
    text = re.sub(pattern, value, text)
  for line in text.replace("\\\n", " ").splitlines():
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
    lexer.whitespace_split = True
    words = []
    for word in [*lexer, ";"]:
      if word and set(word) <= set(";&"):
        while words and re.match(r"[A-Z_0-9]+=", words[0]):
          words = words[1:]  # A variable of the environment.
        if words:
          yield words
        words = []
      else:
        words.append(word)


class Parsed(Exception):
  """The command line is right; the program need not go on."""


def load(program):
  """The module of a program: a file's path, or a full name."""
  if not program.endswith(".py"):
    return importlib.import_module(program)
  spec = importlib.util.spec_from_file_location("program", program)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def parse_program(function, argv, monkeypatch):
  """Has a program parse its command line, and no more."""
  original = argparse.ArgumentParser.parse_args

  def parse_args(self, *args, **kwargs):
    original(self, *args, **kwargs)
    raise Parsed

  monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
  with pytest.raises(Parsed):
    function(argv)


def check(words, monkeypatch):
  """Has a program of this project parse a command.

  Returns:
    Whether the command needs nothing but a clone; None if the program is not
    of this project.
  """
  match words:
    case ["python", "main.py", *argv]:
      config = run_flags.parse(None, argv)
      return config.data.name in synthetic.MADE_BY_RUNS
    case ["u2pl-jax", "--help"]:
      return commands.main(["--help"]) == 0
    case ["u2pl-jax", ("train" | "evaluate") as command, *argv]:
      config = run_flags.parse("train" if command == "train" else "eval", argv)
      return config.data.name in synthetic.MADE_BY_RUNS
    case ["u2pl-jax", *rest]:
      length = 1 if rest[0] in commands.COMMANDS else 2
      row = commands.COMMANDS[" ".join(rest[:length])]
      program, argv = row.module, rest[length:]
    case ["python", "-m", program, *argv] if program.split(".")[0] in (
      "data_prep", "scripts", "u2pl_jax"
    ):  # fmt: skip
      pass
    case ["python", program, *argv] if program.startswith("scripts/"):
      pass
    case _:
      return None
  module = load(program)
  if hasattr(module, "main"):
    parse_program(module.main, argv, monkeypatch)
  else:
    assert not argv, f"{program} takes no flags"
  return program in COMPLETE


def is_run_elsewhere(words):
  return " ".join(words) in FOREIGN


@pytest.mark.parametrize("text, need", list(find_blocks("")))
def test_commands_can_be_parsed_and_say_what_they_need(text, need, monkeypatch):
  assert need is None or need in NEEDS
  found = list(split(text))
  assert found
  for words in found:
    with monkeypatch.context() as patch:
      is_complete = check(words, patch)
    if need is None:
      assert is_complete or is_run_elsewhere(words), (
        f"{' '.join(words)!r}: is not run by a test from a clone alone; put"
        f" <!-- needs: {'|'.join(NEEDS)} --> on the line before the block"
      )


@pytest.mark.parametrize("command", list(find_inline()))
def test_commands_within_a_text_can_be_parsed(command, monkeypatch):
  if named := _NAMED.fullmatch(command):
    assert not named["module"] or importlib.util.find_spec(named["module"])
    assert not named["command"] or named["command"] in commands.COMMANDS
    return
  for words in split(command):
    with monkeypatch.context() as patch:
      assert check(words, patch) is not None or is_run_elsewhere(words)


@pytest.mark.parametrize("file, text", list(FOREIGN.values()))
def test_commands_of_others_are_run_elsewhere(file, text):
  assert text in pathlib.Path(file).read_text()


@pytest.mark.parametrize("text, need", list(find_blocks("python")))
def test_python_can_be_compiled(text, need):
  assert need is None
  ast.parse(text)


def test_blocks_are_of_a_known_kind():
  kinds = {
    block["language"]
    for page in PAGES
    for block in _BLOCK.finditer(page.read_text())
  }
  assert kinds <= {"", "python", "text", "math", "markdown"}


@pytest.mark.parametrize(
  "command",
  [
    "python main.py --config=configs/vok.py --workdir=x",
    "python main.py --config=configs/voc.py:367 --workdir=x",
    "python main.py --config=configs/voc.py --workdir=x --config.sede=1",
    "python main.py --config=configs/voc.py",
    "python -m u2pl_jax.tools.predict --workdir=x --imags=y --out=z",
    "python -m u2pl_jax.tools.pedict --workdir=x",
    "python -m data_prep.folder --name=x",
    "u2pl-jax prepare foldr --root=x",
  ],
)
def test_a_wrong_command_would_be_found(command, monkeypatch):
  with pytest.raises(BaseException) as raised:  # noqa: B017
    check(command.split(), monkeypatch)
  expected = (
    FileNotFoundError, KeyError, ModuleNotFoundError, SystemExit, ValueError
  )  # fmt: skip
  assert isinstance(raised.value, expected)


@pytest.mark.parametrize(
  "command, is_complete",
  [
    ("python main.py --config=configs/synthetic.py --workdir=x", True),
    ("python main.py --config=configs/voc.py:366 --workdir=x", False),
    ("u2pl-jax train --config=synthetic --workdir=x", True),
    ("u2pl-jax report --workdir=x", False),
    ("python -m data_prep.synthetic --data_dir=x", True),
    ("pip install torch", None),
  ],
)
def test_what_a_command_needs(command, is_complete, monkeypatch):
  assert check(command.split(), monkeypatch) is is_complete
