"""Files of results: all of an image or none is found, none is cut short."""

import threading

import numpy as np
import pytest

from u2pl_jax.predict import results

PALETTE = ((0, 0, 0), (255, 0, 0))


def write(out, name="a", maps=("entropy",)):
  photograph = np.full((4, 6, 3), 100, np.uint8)
  gray = np.zeros((4, 6), np.uint8)
  found = {"masks": gray + 1} | dict.fromkeys(maps, gray)
  results.write(out, name, photograph, found, PALETTE)


def test_results_are_found_once_all_files_are_there(tmp_path):
  assert results.find(tmp_path, "sub/a.b", ("entropy",)) is None
  write(tmp_path, "sub/a.b")
  found = results.find(tmp_path, "sub/a.b", ("entropy",))
  assert {str(path.relative_to(tmp_path)) for path in found} == {
    "masks/sub/a.b.png",
    "colors/sub/a.b.png",
    "overlays/sub/a.b.jpg",
    "entropy/sub/a.b.png",
  }
  assert results.find(tmp_path, "sub/a.b", results.MAPS) is None
  (tmp_path / "overlays/sub/a.b.jpg").unlink()
  assert results.find(tmp_path, "sub/a.b", ("entropy",)) is None


@pytest.fixture
def gate(monkeypatch):
  found = results._Gate()
  monkeypatch.setattr(results, "_writing", found)
  return found


def test_no_file_is_begun_after_the_end(tmp_path, gate):
  results.end_writing()
  writer = threading.Thread(target=write, args=(tmp_path,), daemon=True)
  writer.start()
  writer.join(0.2)
  assert writer.is_alive() and not list(tmp_path.iterdir())


def test_the_end_waits_for_files_that_are_being_written(
  tmp_path, gate, monkeypatch
):
  begun, go_on = threading.Event(), threading.Event()

  def slow(path, content):
    begun.set()
    assert go_on.wait(5)
    path.write_bytes(content)

  monkeypatch.setattr(results.workdir, "write_bytes", slow)
  threading.Thread(target=write, args=(tmp_path,), daemon=True).start()
  assert begun.wait(5)
  results.end_writing(timeout=0.1)  # In vain.
  assert not list((tmp_path / "masks").iterdir())
  go_on.set()
  results.end_writing()
  assert [path.name for path in tmp_path.rglob("*.png")] == ["a.png"]
