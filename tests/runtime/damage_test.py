"""Faults are made in real checkpoints, file by file."""

import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tests import saved_progress
from u2pl_jax.methods.u2pl import memory_bank
from u2pl_jax.runtime import checkpoint, damage, sharding

DATA = {"dataset": "toy"}
# The damaged step, with a score, and one that is whole, before it.
STEP, BEFORE = 20, 10


def make_state(value):
  """Arrays of several types; one is too large to be stored with the index."""
  return {
    "step": jnp.int32(value),
    "params": {"kernel": jnp.arange(6000.0).reshape(3, 2000) * value},
    "teacher": None,
    "bank": memory_bank.create_memory_bank((2, 3), 4, jnp.bfloat16),
  }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp("saved") / "checkpoints"
  with checkpoint.open_manager(folder, keep_last=2) as manager:
    for step in (BEFORE, STEP):
      progress = saved_progress.make(step, data=DATA)
      checkpoint.save(manager, step, make_state(step), progress, 50.0 + step)
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  """A copy of two good checkpoints."""
  shutil.copytree(saved, tmp_path / "checkpoints")
  return epath.Path(tmp_path / "checkpoints")


def delete(path):
  shutil.rmtree(path) if path.is_dir() else path.unlink()


def halve(path):
  os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
  os.truncate(path, 0)


def flip_a_bit(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 16
  path.write_bytes(content)


def restore(folder, step):
  mesh = sharding.create_mesh((1, 1), jax.devices()[:1])
  abstract = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding.replicate(mesh)
    ),
    jax.eval_shape(lambda: make_state(0)),
  )
  with checkpoint.open_manager(folder, keep_last=2, read_only=True) as manager:
    return checkpoint.restore(manager, step, abstract, DATA)


def assert_is_step(restored, step):
  state, progress = restored
  assert progress["step"] == step
  jax.tree.map(np.testing.assert_array_equal, state, make_state(step))


# Beside what is named here, damage is found wherever it matters.
ESSENTIAL = {"progress/metadata", "state/_METADATA", "state/manifest.ocdbt"}


@pytest.mark.parametrize("harm", [delete, halve, empty])
def test_each_harmed_file_is_found_or_does_not_matter(harm, saved, tmp_path):
  found = set()
  for path in sorted((saved / str(STEP)).rglob("*")):
    if path.is_dir() and harm is not delete:
      continue
    copy = tmp_path / str(STEP)
    shutil.copytree(saved / str(STEP), copy)
    name = str(path.relative_to(saved / str(STEP)))
    harm(copy / name)
    reason = damage.find_damage(epath.Path(copy))
    if reason is None:
      assert_is_step(restore(tmp_path, STEP), STEP)
    else:
      assert "\n" not in reason and len(reason) < 80
      found.add(name)
    shutil.rmtree(copy)
  assert ESSENTIAL <= found
  assert any("ocdbt.process_0/d/" in name for name in found)


@pytest.mark.parametrize("key", damage.PROGRESS_KEYS)
def test_a_note_without_what_a_run_needs_is_found(saved, tmp_path, key):
  copy = tmp_path / str(STEP)
  shutil.copytree(saved / str(STEP), copy)
  note = copy / "progress" / "metadata"
  note.write_text(note.read_text().replace(f'"{key}"', '"another"'))
  reason = damage.find_damage(epath.Path(copy))
  assert reason == f"progress/metadata lacks {key}"


def test_a_changed_bit_of_any_array_is_found(saved, tmp_path):
  files = [*(saved / str(STEP) / "state").glob("**/d/*")]
  largest = max(files, key=lambda path: path.stat().st_size)
  for path in files:
    copy = tmp_path / str(STEP)
    shutil.copytree(saved / str(STEP), copy)
    flip_a_bit(copy / path.relative_to(saved / str(STEP)))
    reason = damage.find_damage(epath.Path(copy))
    assert reason or path != largest
    if reason is None:
      assert_is_step(restore(tmp_path, STEP), STEP)
    shutil.rmtree(copy)


def test_the_digest_does_not_depend_on_the_sharding():
  array = np.random.default_rng(0).normal(size=(8, 40)).astype(np.float32)
  expected = int(array.view(np.uint32).sum(dtype=np.uint64)) % 2**32
  for shape, spec in (
    ((1, 1), jax.P()),
    ((8, 1), jax.P("data")),
    ((2, 4), jax.P("fsdp", "data")),
  ):
    mesh = sharding.create_mesh(shape, jax.devices()[: np.prod(shape)])
    placed = jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))
    assert damage.compute_digest({"a": placed}) == expected


def set_aside(folder):
  lines = []
  damage.set_aside(folder, lines.append)
  return lines


def test_good_checkpoints_stay_where_they_are(folder):
  assert set_aside(folder) == []
  assert damage.steps(folder) == [STEP, BEFORE]
  assert not (folder.parent / damage.FOLDER).exists()


def test_folders_may_be_relative_and_have_odd_names(
  folder, tmp_path, monkeypatch
):
  odd = tmp_path / "50% of #1, ä"
  odd.mkdir()
  shutil.copytree(folder, odd / "checkpoints")
  monkeypatch.chdir(odd)
  assert damage.find_damage(epath.Path("checkpoints") / str(STEP)) is None
  assert set_aside(epath.Path("checkpoints")) == []


def test_paths_of_buckets_are_absolute():
  path = damage.absolute(epath.Path("gs://bucket/run") / "checkpoints")
  assert str(path) == "gs://bucket/run/checkpoints"


def test_a_folder_that_does_not_exist_is_fine(tmp_path):
  assert set_aside(epath.Path(tmp_path) / "none") == []


def test_a_damaged_latest_is_named_and_moved_and_its_step_saved_anew(folder):
  delete(folder / str(STEP) / "state" / "_METADATA")
  (line,) = set_aside(folder)
  moved = folder.parent / damage.FOLDER / str(STEP)
  assert line == (
    f"checkpoint of step {STEP} is damaged (state/_METADATA is missing); moved"
    f" to {moved}"
  )
  assert (moved / "state" / "d").exists()
  assert_is_step(restore(folder, BEFORE), BEFORE)
  progress = saved_progress.make(STEP, data=DATA)
  with checkpoint.open_manager(folder, keep_last=2) as manager:
    assert manager.latest_step() == BEFORE
    checkpoint.save(manager, STEP, make_state(STEP), progress, 60.0)
  assert_is_step(restore(folder, STEP), STEP)


def test_a_step_damaged_twice_is_kept_twice(folder):
  for name in (f"{STEP}", f"{STEP}_2"):
    halve(folder / str(STEP) / "progress" / "metadata")
    set_aside(folder)
    assert (folder.parent / damage.FOLDER / name / "state").is_dir()
    shutil.copytree(folder / str(BEFORE), folder / str(STEP))


def test_a_bad_score_of_an_older_one_does_not_stop_the_run(folder):
  empty(folder / str(BEFORE) / "metrics" / "metrics")
  with pytest.raises(ValueError, match="metrics/metrics is not JSON") as caught:
    restore(folder, STEP)
  assert str(folder / str(BEFORE)) in str(caught.value)
  assert len(set_aside(folder)) == 1
  with checkpoint.open_manager(folder, keep_last=2) as manager:
    assert manager.best_step() == STEP


def test_without_any_good_one_the_run_does_not_start_again(folder):
  for step in (STEP, BEFORE):
    delete(folder / str(step) / "state" / "manifest.ocdbt")
  for _ in range(2):  # Nothing is moved, so the next start says the same.
    with pytest.raises(ValueError, match="no checkpoint can be read") as caught:
      set_aside(folder)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message
  assert damage.steps(folder) == [STEP, BEFORE]


def test_what_cannot_be_reached_is_not_called_damaged(folder, monkeypatch):
  def refuse(*args, **kwargs):
    raise ValueError("PERMISSION_DENIED: no access to the bucket")

  monkeypatch.setattr(damage.ts, "open", refuse)
  with pytest.raises(ValueError, match="PERMISSION_DENIED"):
    set_aside(folder)
  assert damage.steps(folder) == [STEP, BEFORE]
