"""Layers and libraries: who may import what, found by parsing imports."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path("u2pl_jax")
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module imports only lower layers, or siblings in its own subpackage.
LAYERS = {
  0: (
    "resize halves accumulate partition sampling memory_bank augment metrics"
    " sharding schedules optim damage quiet checkpoint preemption profiling"
    " bad_steps visualize workdir distributed collectives losses progress"
    " cityscapes_labels palettes photographs"
  ),
  1: "data models contrast inference step_log command_line launch",
  2: "train_state protocol predictions step_options trained",
  3: "update evaluator",
  4: "train_step",
  5: "config_values",
  6: "experiment",
  7: "validation dry_run report",
  8: "train evaluate",
  9: "tools",
}
LAYER = {
  name: layer for layer, names in LAYERS.items() for name in names.split()
}
# resize and partition serve others of layer 0, sampling the bank, damage and
# quiet the checkpoints.
WITHIN_LAYER_0 = {
  "memory_bank": {"sampling"},
  "checkpoint": {"damage", "quiet"},
  "losses": {"partition"},
  "palettes": {"cityscapes_labels"},
}
NEEDS_TENSORFLOW = {
  "data",
  "train",
  "evaluate",
  "validation",
  "experiment",
  "step_log",
  "launch",
  "report",
  "tools",
}
READS_CONFIG = {
  "train",
  "evaluate",
  "dry_run",
  "experiment",
  "command_line",
  "tools",
}


def imports(path):
  """Full names of all modules that a file imports, wherever."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(name):
  """The module or subpackage of u2pl_jax that an import names, or None."""
  words = name.split(".")
  known = len(words) > 1 and words[0] == "u2pl_jax" and words[1] in LAYER
  return words[1] if known else None


def own_part(path):
  return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_only_lower_layers(path):
  own = own_part(path)
  if own == "__init__":
    assert not list(imports(path))
    return
  assert own in LAYER, f"give {path} a layer"
  for part in filter(None, map(part_of, imports(path))):
    lower = LAYER[part] < LAYER[own]
    allowed = part in WITHIN_LAYER_0.get(own, ())
    assert part == own or lower or allowed, f"{path} imports {part}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_models_losses_and_steps_import_without_tensorflow(path):
  if own_part(path) in NEEDS_TENSORFLOW:
    return
  heavy = ("tensorflow", "tensorflow_datasets", "clu")
  for name in imports(path):
    assert not name.startswith(heavy), f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_flags_stay_in_entry_points(path):
  if own_part(path) != "tools":
    assert not any(name.startswith("absl.") for name in imports(path))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_config_dicts_stay_above_the_layers_of_the_method(path):
  if own_part(path) not in READS_CONFIG:
    assert not any("ml_collections" in name for name in imports(path))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_files_stay_small(path):
  assert len(path.read_text().splitlines()) <= 400
