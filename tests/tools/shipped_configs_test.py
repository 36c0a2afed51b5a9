"""Configs by name, from any folder."""

import pathlib

import pytest

from u2pl_jax.tools import shipped_configs


def test_names_are_those_of_files_that_make_a_config():
  names = shipped_configs.names()
  assert {"synthetic", "voc", "folder", "unimatch_v2_ade20k"} <= set(names)
  assert not {"common", "networks", "unimatch_common", "__init__"} & set(names)
  assert list(names) == sorted(names)


def test_a_name_is_found_from_any_folder(tmp_path, monkeypatch):
  expected = pathlib.Path("configs/voc.py").resolve()
  monkeypatch.chdir(tmp_path)
  assert shipped_configs.find("voc").samefile(expected)


def test_a_file_of_the_user_comes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("voc", "mine.py"):
    pathlib.Path(name).write_text("def get_config(): ...")
    assert shipped_configs.find(name) == pathlib.Path(name)


@pytest.mark.parametrize("name", ["vox", "configs/vox.py", "/none/vox.py"])
def test_an_unknown_name_is_told_with_the_nearest(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(FileNotFoundError) as caught:
    shipped_configs.find(name)
  message = str(caught.value)
  assert message.startswith(f"--config={name}: no such file")
  assert "the nearest of these are voc, voc_" in message
  assert "\n" not in message
