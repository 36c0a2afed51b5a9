import errno
import json
import os
import socket
import subprocess
import sys

import pytest
from etils import epath

from u2pl_jax.runtime import workdir

CONFIG = {
  "seed": 0,
  "encoder": {"width": 8, "rates": (1, 2)},
  "data": {"data_dir": "data"},
}
NAMES = ("sky", "road")
PALETTE = ((0, 0, 0), (255, 128, 0))


@pytest.fixture
def folder(tmp_path):
  return epath.Path(tmp_path) / "runs" / "a"


def claim(folder, config=CONFIG):
  workdir.claim(folder, config, NAMES, PALETTE)


def claim_for_good(folder, config=CONFIG):
  """With a checkpoint, from which on the config counts."""
  claim(folder, config)
  (folder / "checkpoints" / "1").mkdir(parents=True)


def test_flatten_joins_keys():
  assert workdir.flatten(CONFIG)["encoder.rates"] == (1, 2)


def test_claim_writes_the_config(folder):
  claim(folder)
  saved = json.loads((folder / "config.json").read_text())
  assert saved["encoder"] == {"width": 8, "rates": [1, 2]}


def test_claim_writes_names_and_colors_of_the_classes(folder):
  claim(folder)
  assert workdir.read_classes(folder) == {
    "names": ["sky", "road"],
    "palette": [[0, 0, 0], [255, 128, 0]],
  }


def test_claim_adds_the_classes_to_an_older_run(folder):
  claim(folder)
  (folder / "classes.json").unlink()
  with pytest.raises(FileNotFoundError, match="start main.py on it once"):
    workdir.read_classes(folder)
  claim(folder)
  assert workdir.read_classes(folder)["names"] == ["sky", "road"]


def test_claim_accepts_its_own_config_again(folder):
  claim(folder)
  claim(folder)


def test_a_key_that_changes_nothing_may_differ(folder):
  claim_for_good(folder)
  claim(folder, CONFIG | {"data": {"data_dir": "elsewhere"}})


@pytest.mark.parametrize(
  "change, words",
  [
    ({"seed": 1}, "seed=0, not 1"),
    ({"encoder": {"width": 16, "rates": (1, 2)}}, "encoder.width=8, not 16"),
    ({"extra": 3}, "a run of another version, without extra"),
  ],
)
def test_claim_refuses_another_config_by_name(folder, change, words):
  claim_for_good(folder)
  before = (folder / "config.json").read_text()
  with pytest.raises(ValueError, match=words):
    claim(folder, CONFIG | change)
  assert (folder / "config.json").read_text() == before


@pytest.mark.parametrize("left", ["", '{"seed": 0'], ids=["whole", "damaged"])
def test_a_start_without_a_checkpoint_binds_nothing(folder, left):
  claim(folder)
  # As Orbax leaves it when killed.
  (folder / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir(parents=True)
  if left:
    (folder / "config.json").write_text(left)
  claim(folder, CONFIG | {"seed": 1})
  assert workdir.read_config(folder)["seed"] == 1


def test_a_result_binds_without_its_checkpoints(folder):
  claim(folder)
  workdir.write_json(folder / "result.json", {"miou": 1.5})
  with pytest.raises(ValueError, match="seed=0, not 1"):
    claim(folder, CONFIG | {"seed": 1})


def test_home_is_the_same_written_out(folder):
  claim_for_good(folder, CONFIG | {"pretrained": "~/w.npz"})
  claim(folder, CONFIG | {"pretrained": os.path.expanduser("~/w.npz")})


def test_a_locked_folder_is_refused_by_name_of_its_holder(folder):
  with workdir.lock(folder):
    with pytest.raises(OSError, match="is in use by another run") as caught:
      with workdir.lock(folder):
        raise AssertionError
  words = f"process {os.getpid()} on {socket.gethostname()}; wait"
  assert words in str(caught.value) and "\n" not in str(caught.value)
  with workdir.lock(folder):
    pass


def test_a_dead_process_holds_no_lock(folder):
  code = f"""
import os
from etils import epath
from u2pl_jax.runtime import workdir
with workdir.lock(epath.Path({str(folder)!r})):
  print("locked", flush=True)
  os.read(0, 1)
"""
  process = subprocess.Popen(
    [sys.executable, "-c", code],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(OSError, match=f"process {process.pid} on"):
      with workdir.lock(folder):
        raise AssertionError
    process.kill()
  with workdir.lock(folder):
    pass


def test_file_systems_without_locks_do_without(folder, monkeypatch):
  def refuse(*_):
    raise OSError(errno.ENOLCK, "no locks available")

  monkeypatch.setattr(workdir.fcntl, "flock", refuse)
  with workdir.lock(folder):
    assert folder.is_dir()


def test_a_folder_that_cannot_be_locked_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  (tmp_path / "run" / ".lock").mkdir(parents=True)
  for name, words in (("file", "file cannot be"), ("run", ".lock cannot be")):
    with pytest.raises(OSError, match=words) as caught:
      with workdir.lock(epath.Path(tmp_path / name)):
        raise AssertionError
    assert "\n" not in str(caught.value)


def test_claim_refuses_checkpoints_of_unknown_origin(folder):
  (folder / "checkpoints").mkdir(parents=True)
  with pytest.raises(ValueError, match="without config.json"):
    claim(folder)


def test_a_run_holds_a_checkpoint_once_one_is_whole(folder):
  assert not workdir.holds_checkpoint(folder)
  claim(folder)
  assert not workdir.holds_checkpoint(folder)
  (folder / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir(parents=True)
  assert not workdir.holds_checkpoint(folder)
  (folder / "checkpoints" / "5").mkdir()
  assert workdir.holds_checkpoint(folder)


def test_claim_names_a_workdir_that_is_a_file(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="file cannot be written"):
    claim(epath.Path(tmp_path / "file"))


def test_claim_names_a_workdir_that_cannot_be_made(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="file/run cannot be written"):
    claim(epath.Path(tmp_path / "file" / "run"))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_takes_no_file_is_named(folder, code, monkeypatch):
  def refuse(*args, **kwargs):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(type(folder), "write_bytes", refuse)
  with pytest.raises(OSError, match=os.strerror(code)) as caught:
    claim(folder)
  assert str(folder / "config.json") in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_resumed_run_that_cannot_write_leaves_its_config(folder, monkeypatch):
  claim(folder)

  def refuse(*args, **kwargs):
    raise OSError(errno.EROFS, "read-only")

  monkeypatch.setattr(type(folder), "write_bytes", refuse)
  with pytest.raises(OSError, match="cannot be written"):
    claim(folder)
  assert json.loads((folder / "config.json").read_text())["seed"] == 0


def test_the_config_is_read_as_it_was_written(folder):
  claim(folder)
  expected = json.loads(json.dumps(CONFIG))
  assert workdir.read_config(folder) == expected


def test_a_damaged_list_of_classes_is_named(folder):
  claim(folder)
  (folder / "classes.json").write_text('{"names": [')
  with pytest.raises(ValueError, match="classes.json is damaged") as caught:
    workdir.read_classes(folder)
  assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_config_is_named(folder):
  claim_for_good(folder)
  (folder / "config.json").write_text('{"seed": 0')
  with pytest.raises(ValueError, match="config.json is damaged") as caught:
    claim(folder)
  assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_more_keys_may_differ_if_told(folder):
  claim(folder)
  other = CONFIG | {"encoder": {"width": 16, "rates": (1,)}}
  workdir.check_same_config(folder, other, also_free=("encoder.",))
  with pytest.raises(ValueError, match="encoder.rates"):
    workdir.check_same_config(folder, other, also_free=("encoder.width",))


def test_evaluating_an_empty_workdir_says_so(folder):
  with pytest.raises(FileNotFoundError, match="holds no run"):
    workdir.check_same_config(folder, CONFIG)


def test_write_json_leaves_no_temporary_file(folder):
  claim(folder)
  workdir.write_json(folder / "result.json", {"miou": 1.5})
  names = sorted(path.name for path in folder.iterdir())
  assert names == ["classes.json", "config.json", "result.json"]


def test_a_file_is_replaced_as_a_whole(folder):
  folder.mkdir(parents=True)
  workdir.write_bytes(folder / "mask.png", b"a long old content")
  workdir.write_bytes(folder / "mask.png", b"\x00new")
  assert (folder / "mask.png").read_bytes() == b"\x00new"


def test_a_file_that_cannot_be_replaced_leaves_no_temporary_one(folder):
  (folder / "mask.png").mkdir(parents=True)
  with pytest.raises(OSError, match="mask.png cannot be written") as caught:
    workdir.write_bytes(folder / "mask.png", b"new")
  assert "\n" not in str(caught.value)
  assert [path.name for path in folder.iterdir()] == ["mask.png"]


def test_errors_of_other_backends_are_told_in_one_line(tmp_path, monkeypatch):
  """Those for gs:// raise kinds of their own."""

  class PermissionDenied(Exception):
    pass

  def refuse(*_, **__):
    raise PermissionDenied("no access to the bucket")

  path = epath.Path(tmp_path)
  for method in ("write_bytes", "mkdir"):
    monkeypatch.setattr(type(path), method, refuse)
  with pytest.raises(OSError, match="result.json cannot be written: no access"):
    workdir.write_json(path / "result.json", {})
  with pytest.raises(OSError, match="cannot be written: no access"):
    claim(path / "run")


def test_a_run_of_version_0_1_is_refused_as_such(folder):
  old = {name: part for name, part in CONFIG.items() if name != "encoder"}
  claim_for_good(folder, old | {"model": {"encoder": "resnet18", "width": 8}})
  with pytest.raises(ValueError, match="holds a run of version 0.1") as caught:
    claim(folder)
  assert "\n" not in str(caught.value)


def test_lists_of_json_become_tuples_again():
  settings = {"crop_size": [33, 41], "name": "a", "rates": [], "seed": 1}
  assert workdir.with_tuples(settings) == {
    "crop_size": (33, 41), "name": "a", "rates": (), "seed": 1
  }  # fmt: skip
