"""Tests of the parity tests: all files are claimed, and errors are noticed."""

import fnmatch
import importlib
import inspect
import json

import numpy as np
import pytest

from tests.parity import golden

# Kinds whose first file takes long.
_SLOW = (
  "trajectory",
  "dinov2",
  "dinov2_tiny",
  "dinov2_layers",
  "dpt_model",
  "dpt_init",
  "dpt_supervised_steps",
)


@pytest.mark.parametrize("name", sorted(golden.recordings()))
def test_every_file_is_claimed_by_one_kind(name):
  claims = golden.claims(name)
  assert len(claims) == 1, f"{name} is claimed by {claims or 'no test'}"


def _spoil(array: np.ndarray) -> np.ndarray:
  """A copy that no tolerance forgives: a sign, a bit or a letter is wrong."""
  if array.dtype.kind == "f":
    return array + np.where(array > 0, -0.1, 0.1) * (1 + abs(array))
  if array.dtype.kind == "U":
    return np.char.add(array, "x")
  return (
    array ^ True if array.dtype.kind == "b" else array ^ array.dtype.type(1)
  )


def _write_spoilt(source, pattern, path):
  """Copies a recording but for the first array that the pattern matches."""
  if source.suffix == ".json":
    path.write_text(json.dumps(json.loads(source.read_text())[1:]))
    return
  arrays = golden.load(source)
  names = fnmatch.filter(arrays, pattern)
  name = next(name for name in names if arrays[name].size)
  arrays[name] = _spoil(arrays[name])
  np.savez(path, **arrays)


def _checks(kind: str):
  """The tests of a kind that compare one file."""
  module = importlib.import_module(f"tests.parity.{kind}_test")
  return [
    function
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("test_")
    and list(inspect.signature(function).parameters) == ["path"]
  ]


@pytest.mark.parametrize(
  ("kind", "pattern"),
  [
    pytest.param(name, p, marks=golden.SLOW if name in _SLOW else [])
    for name, kind in golden.KINDS.items()
    for p in kind.corrupt
  ],
)
def test_a_spoilt_array_is_noticed(kind, pattern, tmp_path):
  sources = golden.find(kind)
  if not sources:
    pytest.skip(f"no {golden.KINDS[kind].pattern} to spoil")
  spoilt = tmp_path / sources[0].name
  _write_spoilt(sources[0], pattern, spoilt)
  noticed = []
  for check in _checks(kind):
    try:
      check(spoilt)
    except AssertionError:
      noticed.append(check.__name__)
      break
    except pytest.skip.Exception:
      continue
  assert noticed, f"no test of {kind} noticed an error in {pattern}"


@pytest.mark.parametrize("kind", golden.KINDS)
def test_every_kind_has_tests(kind):
  assert _checks(kind)
