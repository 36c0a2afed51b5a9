"""What may import what, who may know which library or name, how long code is.

All rules stand in the constants below; files and their imports are read, not
listed.
"""

import ast
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

from u2pl_jax import methods
from u2pl_jax.models import decoders, encoders

PACKAGE = pathlib.Path("u2pl_jax")

# Folders and modules of the package: each imports only itself and those before.
ORDER = (
  "ops", "runtime", "data", "losses", "models", "methods", "evaluation",
  "training", "predict", "experiment", "validation", "dry_run", "evaluate",
  "train", "report", "tools",
)  # fmt: skip

# Networks, losses and steps are imported without these, ...
HEAVY = ("tensorflow", "tensorflow_datasets", "clu")
STORE = ("orbax",)
COMPUTES = ("ops", "losses", "models", "methods", "evaluation", "training")
# ... and trained networks, which are read from checkpoints, without the first.
PREDICTS = "predict"
# Exempt are those that write what TensorBoard and others show.
HEAVY_MODULES = ("u2pl_jax.training.step_log", "u2pl_jax.training.writers")

# Flags are read by entry points. The config is a plain dictionary behind them.
READS_FLAGS = ("tools",)
READS_CONFIG = PACKAGE / "tools" / "main_flags.py"

# A method is named by its own files, an encoder or decoder by its module;
# configs choose among them.
SPEAKS_OF_METHODS = ("methods",)
SPEAKS_OF_NETWORKS = (PACKAGE / "models/encoders", PACKAGE / "models/decoders")
HAS_DEFAULTS = PACKAGE / "models" / "network.py"  # Of the two options.

LINES_OF_A_FILE = 349
LINES_OF_A_FUNCTION = 59
FILES_AT_THE_TOP = 6

FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=str)


def _tree(path):
  return ast.parse(path.read_text())


def _part(path):
  """The folder or module of the package that a file belongs to."""
  return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(path):
  """Full names of all that a file imports, wherever."""
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(path):
  """u2pl_jax/ops/resize.py is u2pl_jax.ops.resize."""
  return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@every_file
def test_imports_only_what_comes_before(path):
  own = _part(path)
  parts = [
    name.split(".")[1]
    for name in _imports(path)
    if name.startswith(f"{PACKAGE.name}.")
  ]
  if own == "__init__":
    assert not parts
    return
  assert own in ORDER, f"give {path} a place in ORDER"
  allowed = ORDER[: ORDER.index(own) + 1]
  for part in parts:
    if part in ORDER:  # Else it is one of the constants of the package.
      assert part in allowed, f"{path} imports {part}"


@pytest.mark.parametrize(
  "parts, absent",
  [(COMPUTES, HEAVY + STORE), ((*COMPUTES, PREDICTS), HEAVY)],
  ids=["steps", "trained networks"],
)
def test_what_computes_is_imported_without_heavy_libraries(parts, absent):
  names = [_module(path) for path in FILES if _part(path) in parts]
  code = (
    "import importlib, sys\n"
    f"for name in {absent}: sys.modules[name] = None\n"
    f"for name in {sorted(set(names) - set(HEAVY_MODULES))}:\n"
    "  importlib.import_module(name)\n"
  )
  result = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert not result.returncode, result.stderr


@every_file
def test_flags_stay_in_entry_points(path):
  if _part(path) not in READS_FLAGS:
    assert not any(name.startswith("absl.") for name in _imports(path))


@every_file
def test_config_dicts_stay_where_parts_are_built(path):
  if path != READS_CONFIG:
    assert not any(name.startswith("ml_collections") for name in _imports(path))


def _docstrings(tree):
  """The nodes of all docstrings."""
  owners = ast.Module, ast.ClassDef, ast.FunctionDef
  for node in ast.walk(tree):
    if isinstance(node, owners) and ast.get_docstring(node):
      yield node.body[0].value


def _words(path):
  """Identifiers, imported names and strings of a file, without docstrings."""
  tree = _tree(path)
  docstrings = set(_docstrings(tree))
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant) and node not in docstrings:
      yield str(node.value)
    for field in ("id", "attr", "arg", "name", "asname", "module"):
      if isinstance(getattr(node, field, None), str):
        yield getattr(node, field)


def _assert_nothing_names(names, path):
  """None of the names is an identifier or a whole word of a string."""
  # The project's command, which is called u2pl-jax, is no method.
  wanted = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b(?!-jax\b)")
  for word in _words(path):
    found = wanted.search(word)
    assert not found, f"{path} speaks of {found[0]!r} in {word!r}"


@every_file
def test_nothing_else_knows_the_name_of_a_method(path):
  if _part(path) not in SPEAKS_OF_METHODS:
    _assert_nothing_names(methods.names(), path)


@every_file
def test_nothing_else_knows_the_name_of_an_encoder_or_decoder(path):
  if set(SPEAKS_OF_NETWORKS) & set(path.parents) or path == HAS_DEFAULTS:
    return
  for package in (encoders, decoders):
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    _assert_nothing_names([*modules, *package.names()], path)


@every_file
def test_files_and_functions_stay_short(path):
  lines = len(path.read_text().splitlines())
  assert lines <= LINES_OF_A_FILE
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      lines = node.end_lineno - node.lineno + 1
      assert lines <= LINES_OF_A_FUNCTION, f"{path}: {node.name} has {lines}"


def test_few_modules_lie_at_the_top():
  files = list(PACKAGE.glob("*.py"))
  assert len(files) <= FILES_AT_THE_TOP, sorted(map(str, files))
  folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
  modules = {path.stem for path in files} - {"__init__"}
  assert folders | modules == set(ORDER)
