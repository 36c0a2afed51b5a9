"""The gallery from the command line; a line for each mistake."""

import shutil

import pytest
from PIL import Image

from tests import one_line, saved_state, tiny_run
from u2pl_jax.tools import gallery


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Holds data/ and the run a, on labeled images alone."""
  folder = tmp_path_factory.mktemp("gallery")
  data_dir = tiny_run.make_dataset(folder / "data")
  config = tiny_run.make_config(data_dir, "method=suponly")
  saved_state.write_run(folder / "a", config, 6)
  return folder


def test_a_page_and_a_picture_are_written(folder, tmp_path, capsys):
  picture = tmp_path / "sheet.png"
  flags = [f"--workdir={folder}/a", "--count=2", f"--picture={picture}"]
  assert gallery.main(flags) == 0
  printed = capsys.readouterr().out
  assert printed == f"wrote {folder}/a/gallery.html\nwrote {picture}\n"
  html = (folder / "a/gallery.html").read_text()
  assert html.count("data:image/webp") == 4
  assert "the batches of step 6 of the phase" in html
  with Image.open(picture) as drawn:
    assert drawn.format == "PNG"


def fail(*flags):
  return one_line.error_of(gallery.main, *flags)


def test_mistakes_are_one_line(folder, tmp_path):
  run = f"--workdir={folder}/a"
  for flags, expected in (
    ([f"--workdir={tmp_path}"], f"{tmp_path} holds no run"),
    ([run, "--count=0"], "--count=0: must be >= 1"),
    ([run, "--step=0"], "--step=0: the checkpoint of step 6"),
    ([run, "--step=7"], "name one of its steps, 1 to 6"),
    ([run, "--checkpoint=x"], "--checkpoint=x: must be best or last"),
    ([run, f"--out={tmp_path}/no/page.html"], "there is no folder"),
    ([run, f"--picture={tmp_path}/no/a.png"], "there is no folder"),
    ([run, f"--out={tmp_path}"], "cannot be written"),
    ([run, f"--data_dir={tmp_path}"], "no prepared dataset 'tiny'"),
  ):  # fmt: skip
    assert expected in fail(*flags), flags
  assert "by --data_dir" in fail(run, f"--data_dir={tmp_path}")


def test_a_run_without_a_checkpoint_and_a_damaged_one_are_named(
  folder, tmp_path
):
  early = shutil.copytree(folder / "a", tmp_path / "early")
  shutil.rmtree(early / "checkpoints")
  assert f"{early}/checkpoints holds no" in fail(f"--workdir={early}")
  other = shutil.copytree(folder / "a", tmp_path / "other")
  for path in (other / "checkpoints/6/state/d").glob("*"):
    path.write_bytes(b"")
  assert f"{other}/checkpoints/6" in fail(f"--workdir={other}")


def test_changed_data_are_refused(folder, tmp_path):
  data_dir = shutil.copytree(folder / "data", tmp_path / "data")
  (lists,) = data_dir.glob("tiny/*/lists/16")
  for name in ("labeled", "unlabeled"):
    path = lists / f"{name}.txt"
    path.write_text("\n".join(path.read_text().split()[::-1]) + "\n")
  message = fail(f"--workdir={folder}/a", f"--data_dir={data_dir}")
  assert "was trained on other data" in message
