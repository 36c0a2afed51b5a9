"""Where compiled programs are kept, and how to have none kept."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from u2pl_jax.runtime import compile_cache

PROGRAM = """
import jax
from u2pl_jax.runtime import compile_cache
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
compile_cache.use_default()
jax.jit(lambda x: x * 2 + 1)(1.0).block_until_ready()
"""


def run(folder, **environ):
  subprocess.run(
    [sys.executable, "-c", PROGRAM],
    env=os.environ | {"XDG_CACHE_HOME": str(folder)} | environ,
    check=True,
  )


def files(folder):
  return [path for path in folder.rglob("*") if path.is_file()]


def test_programs_are_kept_in_the_users_cache_folder(tmp_path, monkeypatch):
  run(tmp_path)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  (folder,) = {path.parent for path in files(tmp_path)}
  assert folder == compile_cache.default_folder()
  assert folder.parent == tmp_path / "u2pl_jax"


def test_variables_of_jax_turn_it_off_or_elsewhere(tmp_path):
  run(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")
  assert not files(tmp_path)
  other = tmp_path / "other"
  run(tmp_path / "cache", JAX_COMPILATION_CACHE_DIR=str(other))
  assert files(other) and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("given", [None, "", "relative"])
def test_without_a_folder_of_its_own_it_is_below_the_home(monkeypatch, given):
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  if given is not None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
  base = pathlib.Path.home() / ".cache" / "u2pl_jax"
  assert compile_cache.default_folder().parent == base


def test_other_processors_have_another_folder(monkeypatch):
  ours = compile_cache.default_folder()
  monkeypatch.setattr(compile_cache, "_processor", lambda: "flags: none")
  assert compile_cache.default_folder() != ours


@pytest.mark.parametrize(
  "processes, backend, kept", [(1, "cpu", True), (2, "gpu", True),
                               (2, "cpu", False)]
)  # fmt: skip
def test_several_processes_on_cpus_keep_none(
  monkeypatch, processes, backend, kept
):
  updates = {}
  monkeypatch.setattr(jax, "process_count", lambda: processes)
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setattr(jax.config, "update", updates.__setitem__)
  try:
    compile_cache.use_default()
  finally:
    monkeypatch.undo()
    jax.config.update("jax_compilation_cache_dir", before)
  assert ("jax_compilation_cache_dir" in updates) == kept
