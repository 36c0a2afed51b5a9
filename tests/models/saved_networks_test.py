"""Networks as files and folders that describe themselves."""

import json
import os

import numpy as np
import pytest

import u2pl_jax
from tests import tiny_network, torch_weights
from u2pl_jax.models import saved_networks

ABOUT = {
  "options": tiny_network.make_options(),
  "names": list(tiny_network.NAMES),
  "palette": [list(color) for color in tiny_network.PALETTE],
}


@pytest.fixture(scope="module")
def variables():
  return tiny_network.make_variables(tiny_network.make_options())


@pytest.fixture
def folder(tmp_path, variables):
  path = tmp_path / "net"
  saved_networks.write_folder(path, ABOUT, variables, "# A card\n")
  return path


def refusal(call, *arguments):
  with pytest.raises((ValueError, OSError)) as caught:
    call(*arguments)
  message = str(caught.value)
  assert "\n" not in message and str(arguments[0]) in message
  return message


def change(folder, **entries):
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_folder_holds_description_weights_and_card(folder, variables):
  assert {path.name for path in folder.iterdir()} == {
    "config.json",
    "model.safetensors",
    "README.md",
  }
  about, read = saved_networks.read(folder)
  torch_weights.assert_same(read, variables)
  assert ABOUT.items() <= about.items()
  assert about["u2pl_jax"] == u2pl_jax.__version__
  assert (folder / "README.md").read_text() == "# A card\n"


def test_its_weights_are_a_file_that_describes_itself(folder, variables):
  about, read = saved_networks.read(folder / "model.safetensors")
  assert about == ABOUT
  torch_weights.assert_same(read, variables)


def test_a_description_is_read_without_the_weights(folder):
  weights = folder / "model.safetensors"
  about = saved_networks.read(folder)[0]
  assert saved_networks.read_description(weights) == ABOUT
  weights.write_bytes(b"others")
  assert saved_networks.read_description(folder) == about


def test_a_folder_of_an_earlier_export_is_replaced(folder, variables):
  saved_networks.write_folder(folder, ABOUT | {"names": ["a"]}, variables, "")
  assert saved_networks.read(folder)[0]["names"] == ["a"]


def test_other_folders_and_files_are_not_written_to(tmp_path, variables):
  (tmp_path / "mine.txt").write_text("mine")
  for path, words in (
    (tmp_path, "holds something else"),
    (tmp_path / "mine.txt", "is a file"),
  ):
    message = refusal(saved_networks.write_folder, path, ABOUT, variables, "")
    assert words in message
  assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_changed_weights_are_refused(folder):
  path = folder / "model.safetensors"
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  message = refusal(saved_networks.read, folder)
  assert "model.safetensors: is not the file that config.json" in message


def test_weights_of_another_network_are_refused(folder, tmp_path, variables):
  saved_networks.write_file(
    folder / "model.safetensors", ABOUT | {"names": ["a"]}, variables
  )
  assert "SHA-256" in refusal(saved_networks.read, folder)


@pytest.mark.parametrize("version", ["0.9", "0.10.0", "1.0.0", "12"])
def test_folders_of_later_versions_are_refused(version, folder):
  change(folder, u2pl_jax=version)
  message = refusal(saved_networks.read, folder)
  assert f"was written by u2pl_jax {version}, and this is" in message


@pytest.mark.parametrize("version", ["0.1.5", "0.2.99", u2pl_jax.__version__])
def test_folders_of_earlier_and_equal_versions_are_read(version, folder):
  change(folder, u2pl_jax=version)
  assert saved_networks.read(folder)[0]["u2pl_jax"] == version


@pytest.mark.parametrize(
  "damage, words",
  [
    (lambda f: (f / "config.json").unlink(), "named by --workdir"),
    (lambda f: (f / "model.safetensors").unlink(), "no such file"),
    (lambda f: os.truncate(f / "config.json", 30), "config.json is damaged"),
    (lambda f: (f / "config.json").write_text("[]"), "describes no network"),
    (lambda f: (f / "config.json").write_text("{}"), "describes no network"),
    (lambda f: change(f, u2pl_jax="new"), "'new' is no version"),
    (lambda f: change(f, sha256=3), "is not the file"),
  ],
)
def test_damaged_folders_are_refused(damage, words, folder):
  damage(folder)
  assert words in refusal(saved_networks.read, folder)


@pytest.mark.parametrize(
  "options, names, words",
  [
    ({}, tiny_network.NAMES, "KeyError('num_classes')"),
    (ABOUT["options"], ("a", "b"), "2 names for num_classes=5"),
    (
      tiny_network.make_options(width=8),
      tiny_network.NAMES,
      "holds another network than it says; batch_stats/encoder/",
    ),
  ],
)
def test_descriptions_of_other_networks_are_refused(
  options, names, words, variables
):
  with pytest.raises(ValueError, match="^net: ") as caught:
    saved_networks.check(options, names, variables, "net")
  assert words in str(caught.value)


def test_a_file_of_other_arrays_is_told_apart(tmp_path):
  path = tmp_path / "net.safetensors"
  saved_networks.write_file(path, None, {"params": {"a": np.ones(1)}})
  message = refusal(saved_networks.read, path)
  assert "was not written by u2pl_jax.tools.export" in message
