"""Importing the project changes nothing for the rest of the program."""

import ast
import importlib.util
import json
import pathlib
import subprocess
import sys

FILES = sorted(
  path
  for folder in ("u2pl_jax", "data_prep")
  for path in pathlib.Path(folder).rglob("*.py")
)
# The state of what a program shares, after two lists of modules are imported.
PROGRAM = """
import importlib, json, logging, os, signal, sys, threading, warnings

def look():
  import cv2
  from PIL import Image, ImageFile
  return [
    dict(os.environ),
    [str(each) for each in warnings.filters],
    logging.getLogger().level,
    len(logging.getLogger().handlers),
    len(logging.getLogger("absl").filters),
    [str(hook) for hook in (
      sys.excepthook, sys.unraisablehook, threading.excepthook
    )],
    [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGINT)],
    [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES],
    sorted(Image.OPEN),
    cv2.getNumThreads(),
    sys.path,
  ]

others, ours = json.loads(sys.argv[1])
for name in others:
  importlib.import_module(name)
before = look()
for name in ours:
  importlib.import_module(name)
print(json.dumps([before, look()]))
"""


def name_of(path):
  parts = path.with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name):
  try:
    return importlib.util.find_spec(name) is not None
  except ModuleNotFoundError:  # Of a name in a module.
    return False


def imports(path):
  """Full names of the modules that a file imports as it is imported."""
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
      # Of packages, whose parts may be modules with effects of their own.
      for alias in node.names:
        name = f"{node.module}.{alias.name}"
        if is_module(name):
          yield name


def test_importing_every_module_changes_nothing_for_others():
  """Beside what the libraries they import do, which are imported first."""
  ours = [name_of(path) for path in FILES]
  roots = ("u2pl_jax", "data_prep")
  others = {
    name
    for path in FILES
    for name in imports(path)
    if name.partition(".")[0] not in roots
  }
  finished = subprocess.run(
    [sys.executable, "-c", PROGRAM, json.dumps([sorted(others), ours])],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert finished.returncode == 0, finished.stderr
  before, after = json.loads(finished.stdout.splitlines()[-1])
  assert after == before
