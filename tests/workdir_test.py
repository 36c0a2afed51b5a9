import errno
import json
import os

import pytest
from etils import epath

from u2pl_jax import workdir

CONFIG = {
  "seed": 0,
  "model": {"width": 8, "rates": (1, 2)},
  "data": {"data_dir": "data"},
}


@pytest.fixture
def folder(tmp_path):
  return epath.Path(tmp_path) / "runs" / "a"


def test_flatten_joins_keys():
  assert workdir.flatten(CONFIG)["model.rates"] == (1, 2)


def test_claim_writes_the_config(folder):
  workdir.claim(folder, CONFIG)
  saved = json.loads((folder / "config.json").read_text())
  assert saved["model"] == {"width": 8, "rates": [1, 2]}


def test_claim_accepts_its_own_config_again(folder):
  workdir.claim(folder, CONFIG)
  workdir.claim(folder, CONFIG)


def test_a_key_that_changes_nothing_may_differ(folder):
  workdir.claim(folder, CONFIG)
  workdir.claim(folder, CONFIG | {"data": {"data_dir": "elsewhere"}})


@pytest.mark.parametrize(
  "change, words",
  [
    ({"seed": 1}, "seed=0, not 1"),
    ({"model": {"width": 16, "rates": (1, 2)}}, "model.width=8, not 16"),
    ({"extra": 3}, "extra=None, not 3"),
  ],
)
def test_claim_refuses_another_config_by_name(folder, change, words):
  workdir.claim(folder, CONFIG)
  before = (folder / "config.json").read_text()
  with pytest.raises(ValueError, match=words):
    workdir.claim(folder, CONFIG | change)
  assert (folder / "config.json").read_text() == before


def test_claim_refuses_checkpoints_of_unknown_origin(folder):
  (folder / "checkpoints").mkdir(parents=True)
  with pytest.raises(ValueError, match="without config.json"):
    workdir.claim(folder, CONFIG)


def test_claim_names_a_workdir_that_is_a_file(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="file cannot be written"):
    workdir.claim(epath.Path(tmp_path / "file"), CONFIG)


def test_claim_names_a_workdir_that_cannot_be_made(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="file/run cannot be written"):
    workdir.claim(epath.Path(tmp_path / "file" / "run"), CONFIG)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_takes_no_file_is_named(folder, code, monkeypatch):
  def refuse(*args, **kwargs):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(type(folder), "write_text", refuse)
  with pytest.raises(OSError, match=os.strerror(code)) as caught:
    workdir.claim(folder, CONFIG)
  assert str(folder / "config.json") in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_resumed_run_that_cannot_write_leaves_its_config(folder, monkeypatch):
  workdir.claim(folder, CONFIG)

  def refuse(*args, **kwargs):
    raise OSError(errno.EROFS, "read-only")

  monkeypatch.setattr(type(folder), "write_text", refuse)
  with pytest.raises(OSError, match="cannot be written"):
    workdir.claim(folder, CONFIG)
  assert json.loads((folder / "config.json").read_text())["seed"] == 0


def test_a_damaged_config_is_named(folder):
  workdir.claim(folder, CONFIG)
  (folder / "config.json").write_text('{"seed": 0')
  with pytest.raises(ValueError, match="config.json is damaged") as caught:
    workdir.claim(folder, CONFIG)
  assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_evaluating_an_empty_workdir_says_so(folder):
  with pytest.raises(FileNotFoundError, match="holds no run"):
    workdir.check_same_config(folder, CONFIG)


def test_write_json_leaves_no_temporary_file(folder):
  workdir.claim(folder, CONFIG)
  workdir.write_json(folder / "result.json", {"miou": 1.5})
  names = sorted(path.name for path in folder.iterdir())
  assert names == ["config.json", "result.json"]
