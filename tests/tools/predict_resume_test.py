"""Commands that go on where an earlier one stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests import one_line, tiny_network
from tests.tools import photos
from u2pl_jax.predict import photographs, record, results, trained


def times(out):
  return {
    str(path.relative_to(out)): path.stat().st_mtime_ns
    for path in out.rglob("*.*g")  # .png and .jpg
  }


def changed(before, after):
  """The names of the images of which something was written."""
  return {
    os.path.splitext(os.path.basename(name))[0]
    for name in after
    if before.get(name) != after[name]
  }


def test_images_that_are_done_are_not_predicted_anew(run, tmp_path, capsys):
  photos.save(tmp_path / "in", 5)
  assert run(tmp_path / "in") == 0
  before = times(tmp_path / "out")
  assert "already" not in capsys.readouterr().out
  (tmp_path / "out/colors/1.png").unlink()
  os.utime(tmp_path / "in/2.png")  # Replaced, ...
  other = tmp_path / "other.png"
  Image.fromarray(photos.make_image(9)).save(other)
  os.utime(other, (0, 0))
  other.rename(tmp_path / "in/3.png")  # ... also by an older file.
  (tmp_path / "out/masks/4.png").write_bytes(b"")
  os.utime(tmp_path / "out/masks/4.png", (0, 0))  # Of before the record.
  assert run(tmp_path / "in") == 0
  assert changed(before, times(tmp_path / "out")) == {"1", "2", "3", "4"}
  printed = capsys.readouterr()
  assert "1 of 5 images was done already\n" in printed.out
  assert "5 of 5 images" in printed.out and "predicting: 4/4" in printed.err
  assert run(tmp_path / "in") == 0
  printed = capsys.readouterr()
  assert "5 of 5 images were done already\n" in printed.out


def test_going_on_gives_the_same_as_never_stopping(run, tmp_path, monkeypatch):
  for index in range(12):
    photos.save(tmp_path / f"in{index}", 1, (30 + index, 40 - index))
  images = tmp_path / "in*" / "*.png"
  assert run(images, "--batch_size=8") == 0
  write, count = results.write, []

  def stop(*arguments):
    count.append(arguments)
    if len(count) > 5:
      raise OSError("stopped")
    write(*arguments)

  again = tmp_path / "again"
  monkeypatch.setattr(results, "write", stop)
  assert "stopped" in one_line.error_of_call(
    run, images, "--batch_size=8", out=again
  )
  monkeypatch.setattr(results, "write", write)
  before = times(again)
  assert before
  assert run(images, "--batch_size=8", out=again) == 0
  after = times(again)
  assert before.items() <= after.items()
  assert after.keys() == times(tmp_path / "out").keys()
  for name in after:
    assert (again / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--protocol=slide"], "of --protocol=whole, not --protocol=slide"),
    (["--scales=0.5,1"], "of --scales=1, not --scales=0.5,1"),
    (["--flip"], "of no --flip, not --flip"),
    (["--maps=entropy"], "of no --maps, not --maps=entropy"),
    (["--value_range=0,9"], "of no --value_range, not --value_range=0,9"),
  ],
)
def test_other_settings_are_refused_by_name(flags, words, run, tmp_path):
  photos.save(tmp_path / "in")
  assert run(tmp_path / "in") == 0
  before = times(tmp_path / "out")
  line = one_line.error_of_call(run, tmp_path / "in", *flags)
  assert words in line and "--overwrite" in line and "--out" in line
  assert str(tmp_path / "out" / "predict.json") in line
  assert times(tmp_path / "out") == before
  assert run(tmp_path / "in", *flags, "--overwrite") == 0
  assert changed(before, times(tmp_path / "out")) == {"0"}
  # And on from there.
  before = times(tmp_path / "out")
  assert run(tmp_path / "in", *flags) == 0
  assert times(tmp_path / "out") == before


def test_another_network_or_folder_is_refused(
  run, checkpoint, network, tmp_path
):
  photos.save(tmp_path / "in")
  photos.save(tmp_path / "other")
  mine = tmp_path / "mine.safetensors"
  trained.save_safetensors(network, mine)
  flag = f"--weights={mine}"
  assert run(tmp_path / "in", flag) == 0
  line = one_line.error_of_call(run, tmp_path / "other", flag)
  assert f"of --images={tmp_path / 'in'}, not --images=" in line
  # The same weights under another name are the same network.
  assert run(tmp_path / "in") == 0
  variables = tiny_network.make_variables(network.options, salt="x")
  other = trained.Trained(**vars(network) | {"variables": variables})
  trained.save_safetensors(other, mine)
  assert f"of {mine} as it was before" in one_line.error_of_call(
    run, tmp_path / "in", flag
  )
  mine.rename(tmp_path / "new.safetensors")
  line = one_line.error_of_call(
    run, tmp_path / "in", f"--weights={tmp_path}/new.safetensors"
  )
  assert f"of the network {mine}, not {tmp_path}/new.safetensors" in line


def test_results_of_nobody_knows_what_are_not_touched(run, tmp_path):
  photos.save(tmp_path / "in")
  out = tmp_path / "in"  # Where the results are no images of the next run.
  assert run(tmp_path / "in", out=out) == 0
  (out / "predict.json").unlink()
  before = times(out)
  line = one_line.error_of_call(run, tmp_path / "in", out=out)
  assert "--overwrite" in line and str(out / "masks") in line
  (out / "predict.json").write_text("{")
  line = one_line.error_of_call(run, tmp_path / "in", out=out)
  assert "predict.json is damaged" in line and "--overwrite" in line
  (out / "predict.json").write_text("{}")
  assert "another version; pass --overwrite" in one_line.error_of_call(
    run, tmp_path / "in", out=out
  )
  assert times(out) == before
  assert run(tmp_path / "in", "--overwrite", out=out) == 0
  assert changed(before, times(out)) == {"0"}


def test_results_of_other_images_do_not_count_after_overwriting(run, tmp_path):
  photos.save(tmp_path / "in", 2)
  assert run(tmp_path / "in") == 0
  before = times(tmp_path / "out")
  flags = ["--flip", "--overwrite"]
  assert run(tmp_path / "in" / "0.png", *flags) == 0
  assert changed(before, times(tmp_path / "out")) == {"0"}
  assert run(tmp_path / "in", "--flip") == 0
  assert changed(before, times(tmp_path / "out")) == {"0", "1"}


def test_the_record_is_there_before_the_first_result(
  run, tmp_path, monkeypatch
):
  photos.save(tmp_path / "in")
  write = results.write

  def look(out, *arguments):
    about = json.loads((out / "predict.json").read_text())
    assert about["protocol"] == "whole" and len(about["digest"]) == 64
    write(out, *arguments)

  monkeypatch.setattr(results, "write", look)
  assert run(tmp_path / "in") == 0


def test_names_lie_within_the_folder_that_is_recorded(tmp_path):
  photos.save(tmp_path / "in")
  photos.save(tmp_path / "in" / "sub")
  for where in ("in", "in/*.png", "in/0.png", "in/**/*.png"):
    found = photographs.find(str(tmp_path / where))
    assert {record.find_root(image) for image in found} == {
      str(tmp_path / "in")
    }


def test_ctrl_c_ends_at_once_and_the_same_command_goes_on(checkpoint, tmp_path):
  photos.save(tmp_path / "in", 60)
  out = tmp_path / "out"
  command = [sys.executable, "-m", "u2pl_jax.tools.predict"]
  command += [f"--weights={checkpoint}", f"--images={tmp_path / 'in'}"]
  command += [f"--out={out}", "--batch_size=1"]
  program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  while not (out / "overlays").exists():
    assert program.poll() is None
    time.sleep(0.01)
  program.send_signal(signal.SIGINT)
  _, printed = program.communicate(timeout=5)
  assert program.returncode == 130
  found = re.fullmatch(
    r"interrupted; (\d+) of 60 images are done; the same command goes on",
    printed.splitlines()[-1],
  )
  assert found and "Traceback" not in printed
  before = times(out)
  for path in out.rglob("*.*g"):
    with Image.open(path) as image:
      np.asarray(image)
  assert not list(out.rglob("*.tmp"))
  ended = subprocess.run(
    command, check=True, capture_output=True, text=True, timeout=120
  )
  assert re.search(rf"^{found[1]} of 60 images w\w+ done", ended.stdout, re.M)
  kept = before.items() & times(out).items()
  assert len(kept) >= 3 * int(found[1])
  assert len(list((out / "overlays").iterdir())) == 60
