"""Preparing PASCAL VOC: killed, stopped, or on a full disk."""

import os
import resource
import shutil
import subprocess
import sys
import time

import pytest
import tensorflow_datasets as tfds

from data_prep import examples, voc, writer
from tests import mini_voc, voc_tree
from u2pl_jax.data import datasets

POINTS = {
  "third image": (examples, "check_example", 3),
  "closing of the records": (tfds.core.SequentialWriter, "close_all", 1),
  "lists": (writer, "write_lists", 1),
  "check": (writer, "_check_written", 1),
  "renaming": (os, "rename", 1),
}


def interrupt(monkeypatch, point, error):
  """Makes the n-th call at `point` raise `error`."""
  owner, name, count = POINTS[point]
  original = getattr(owner, name)
  calls = []

  def call(*args, **kwargs):
    calls.append(name)
    if len(calls) == count:
      raise error
    return original(*args, **kwargs)

  monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_interrupted_anywhere_nothing_looks_finished_and_a_rerun_completes(
  tree, data_dir, monkeypatch, point, killed
):
  with monkeypatch.context() as patch:
    interrupt(patch, point, KeyboardInterrupt())
    if killed:  # Then nothing is cleaned up.
      patch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert voc.main(mini_voc.arguments(tree, data_dir)) == 130
  left = [p.name for p in data_dir.rglob("*") if p.parent != data_dir]
  assert (".incomplete" in left) == killed and "1.0.0" not in left
  with pytest.raises(FileNotFoundError, match="no prepared dataset"):
    datasets.open_dataset("voc", data_dir)
  dataset = mini_voc.prepare(tree, data_dir)
  assert len(mini_voc.read_labels(dataset)) == 5
  assert [p.name for p in dataset.path.parent.iterdir()] == ["1.0.0"]


def test_killed_process_leaves_nothing_that_looks_finished(tmp_path, data_dir):
  tree = mini_voc.write_tree(tmp_path / "tree")
  image = tree / "JPEGImages" / f"{mini_voc.OWN[1]}.jpg"
  image.unlink()
  os.mkfifo(image)  # Reading it waits for ever.
  command = [sys.executable, "-m", "data_prep.voc"]
  options = mini_voc.arguments(tree, data_dir, "--lists=tree")
  with subprocess.Popen(command + options) as process:
    deadline = time.monotonic() + 60
    while not list(data_dir.rglob("*.json")) and time.monotonic() < deadline:
      time.sleep(0.05)
    process.kill()
  assert [p.name for p in (data_dir / "voc").iterdir()] == [".incomplete"]
  image.unlink()
  image.write_bytes(
    mini_voc.encode(voc_tree.draw_image(mini_voc.OWN[1]), "JPEG")
  )
  dataset = mini_voc.prepare(tree, data_dir, "--lists=tree")
  assert [p.name for p in dataset.path.parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize("limit", [0, 100, 4000])
def test_full_disk_leaves_the_old_dataset_as_it_was(
  tree, aug, data_dir, capsys, limit
):
  dataset = mini_voc.prepare(tree, data_dir)
  before = {p: p.read_bytes() for p in data_dir.rglob("*") if p.is_file()}
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  options = mini_voc.arguments(tree, data_dir, f"--aug={aug}", "--overwrite")
  capsys.readouterr()
  # No file may grow beyond this; writing then fails as on a full disk.
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
  try:
    status = voc.main(options)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert status == 1
  assert "error: " in capsys.readouterr().err
  after = {p: p.read_bytes() for p in data_dir.rglob("*") if p.is_file()}
  assert after == before
  mini_voc.prepare(tree, data_dir, f"--aug={aug}", "--overwrite")
  assert dataset.has_label["train"][2] is False
