"""Memory of the host and of this process."""

import mmap

import numpy as np
import pytest

from u2pl_jax.runtime import memory


def test_a_process_knows_what_it_holds_and_held():
  before = memory.resident_bytes()
  # Not an array: its pages could be some that the allocator has kept.
  block = mmap.mmap(-1, 100_000_000)
  np.frombuffer(block, np.uint8)[:] = 1
  assert 90e6 < memory.resident_bytes() - before < 110e6
  block.close()
  assert memory.resident_bytes() - before < 20e6
  assert memory.peak_bytes() - before > 90e6


def test_small_pieces_that_are_free_go_back_to_the_system():
  pieces = [bytes(50_000) for _ in range(4_000)]
  last = bytes(50_000)  # Above all others, so that the heap cannot shrink.
  del pieces
  before = memory.resident_bytes()
  memory.release_free()
  assert memory.resident_bytes() - before < -100e6
  del last


def write(folder, **files):
  folder.mkdir(parents=True)
  for name, text in files.items():
    (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
  "limit, available",
  [
    ("max\n", 1024 * 1100),
    ("500000\n", 500_000 - 300_000 + 40_000),
    ("100000\n", 0),
    ("99999999\n", 1024 * 1100),
  ],
)
def test_limits_of_containers_count(limit, available, tmp_path, monkeypatch):
  write(
    tmp_path / "proc",
    meminfo="MemFree: 9 kB\nMemAvailable: 1000 kB\nSwapFree: 100 kB\n\n",
  )
  write(
    tmp_path / "cgroup",
    memory__max=limit,
    memory__current="300000\n",
    memory__stat="anon 1\ninactive_file 40000\n",
  )
  monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
  monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
  assert memory.available_bytes() == available


def test_what_is_not_known_is_none(tmp_path, monkeypatch):
  monkeypatch.setattr(memory, "_PROC", tmp_path / "absent")
  assert memory.available_bytes() is None
  assert memory.resident_bytes() is None
  assert memory.peak_bytes() is None
