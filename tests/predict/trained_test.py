"""Networks from runs and files, and what is refused."""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests import networks, tiny_network, tiny_run, torch_weights
from u2pl_jax.models import network as network_lib
from u2pl_jax.models import torch_networks
from u2pl_jax.predict import trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A run's folder and its variables; not to be written to."""
  folder = tmp_path_factory.mktemp("runs") / "run"
  return folder, tiny_network.save_run(folder)


@pytest.fixture
def run(finished, tmp_path):
  """A copy of it."""
  return shutil.copytree(finished[0], tmp_path / "run")


@pytest.fixture
def path(tmp_path):
  return tmp_path / "net.safetensors"


def refusal(load, *arguments):
  with pytest.raises((ValueError, OSError)) as caught:
    load(*arguments)
  message = str(caught.value)
  assert "\n" not in message and str(arguments[0]) in message
  return message


@pytest.mark.parametrize(
  "arguments, step, state",
  [
    ((), 1, "teacher"),
    (("last",), 2, "teacher"),
    (("best", "student"), 1, "student"),
  ],
)
def test_a_run_gives_network_classes_and_window(
  arguments, step, state, finished
):
  folder, variables = finished
  network = trained.load_run(folder, *arguments)
  torch_weights.assert_same(network.variables, variables[step, state])
  sections = tiny_network.make_sections()
  assert network.model == network_lib.create(sections, network.num_classes)
  assert network.class_names == tiny_network.NAMES
  assert network.num_classes == len(tiny_network.NAMES)
  assert network.palette == tiny_network.PALETTE
  assert network.window == tiny_network.WINDOW
  assert network.state == state
  assert network.origin == f"{folder}, {state} of step {step}"


def test_a_run_without_teacher_gives_its_student(tmp_path):
  variables = tiny_network.save_run(tmp_path / "run", has_teacher=False)
  network = trained.load_run(tmp_path / "run")
  assert network.state == "student"
  torch_weights.assert_same(network.variables, variables[1, "student"])
  message = refusal(trained.load_run, tmp_path / "run", "best", "teacher")
  assert "has no teacher" in message


def test_every_key_of_a_real_config_is_known(tmp_path):
  config = tiny_run.make_config(tmp_path, "encoder=resnet18")
  tiny_network.save_run(tmp_path / "run", config=config)
  network = trained.load_run(tmp_path / "run")
  for section in ("model", "encoder", "decoder"):
    assert network.options[section] == json.loads(json.dumps(config[section]))
  assert network.window == (33, 33)


@pytest.mark.parametrize(
  "missing, words",
  [
    ("", "holds no run (no config.json)"),
    ("config.json", "holds no run (no config.json)"),
    ("classes.json", "start main.py on it once"),
    ("checkpoints", "holds no run (no checkpoints)"),
    ("checkpoints/1/state/_METADATA", "damaged checkpoint"),
  ],
)
def test_folders_without_a_whole_run_are_refused(missing, words, run):
  if not missing or missing == "checkpoints":
    shutil.rmtree(run / missing)
  else:
    (run / missing).unlink()
  assert words in refusal(trained.load_run, run)


def change(path, edit):
  content = json.loads(path.read_text())
  edit(content)
  path.write_text(json.dumps(content))


@pytest.mark.parametrize(
  "edit, words",
  [
    (
      lambda c: c["encoder"].update(width=8),
      "batch_stats/encoder/layer1_0/bn1/mean is float32[4], expected"
      " float32[8]",
    ),
    (
      lambda c: c["model"].update(encoder="resnet34"),
      "batch_stats/encoder/layer1_2/bn1/mean is missing, expected float32[4]",
    ),
    (
      lambda c: c["decoder"].update(rep_channels=0),
      "batch_stats/decoder/representation/block1/bn/mean is float32[8],"
      " expected none",
    ),
    (lambda c: c["encoder"].update(width=0), "encoder.width=0: must be >= 1"),
    (lambda c: c["model"].update(color=3), "'model.color'"),
    (lambda c: c.pop("decoder"), "decoder is missing from the config"),
    (
      lambda c: [c.pop("encoder"), c.pop("decoder")],
      "was made by version 0.1 of u2pl_jax",
    ),
  ],
)
def test_a_config_of_another_network_is_refused(edit, words, run):
  change(run / "config.json", edit)
  assert words in refusal(trained.load_run, run)


def test_other_classes_are_refused_by_the_first_leaf(run):
  change(run / "classes.json", lambda classes: classes["names"].pop())
  message = refusal(trained.load_run, run)
  assert (
    "params/decoder/classifier/output/bias is float32[5], expected float32[4]"
    in message
  )


@pytest.mark.parametrize("name", ["config.json", "classes.json"])
def test_a_cut_off_file_of_a_run_is_named(name, run):
  os.truncate(run / name, 20)
  assert f"{name} is damaged" in refusal(trained.load_run, run)


def test_safetensors_keep_everything_bit_for_bit(path):
  network = tiny_network.make_trained()
  shapes = jax.eval_shape(lambda: network.variables)
  network = dataclasses.replace(
    network, variables=torch_weights.random(shapes), state="student"
  )
  trained.save_safetensors(network, path)
  loaded = trained.load_file(path)
  torch_weights.assert_same(loaded.variables, network.variables)
  assert loaded.origin == str(path)
  for field in dataclasses.fields(network):
    if field.name not in ("variables", "origin"):
      expected = getattr(network, field.name)
      assert getattr(loaded, field.name) == expected


def test_a_run_survives_the_way_through_a_file(finished, path):
  folder, variables = finished
  trained.save_safetensors(trained.load_run(folder), path)
  loaded = trained.load_file(str(path))
  torch_weights.assert_same(loaded.variables, variables[1, "teacher"])


def test_a_folder_keeps_everything_bit_for_bit(tmp_path):
  network = tiny_network.make_trained()
  trained.save_folder(network, tmp_path / "net", "# A card\n")
  loaded = trained.load_file(tmp_path / "net")
  torch_weights.assert_same(loaded.variables, network.variables)
  assert loaded.origin == str(tmp_path / "net")
  assert loaded.options == network.options
  assert loaded.palette == network.palette
  assert loaded.window == network.window


@pytest.mark.parametrize(
  "edit, words",
  [
    (
      lambda c: c["options"]["model"].update(encoder="resnet34"),
      "holds another network than it says; batch_stats/encoder/layer1_2/",
    ),
    (lambda c: c["options"].update(num_classes=4), "5 names for num_classes=4"),
    (lambda c: c["names"].pop(), "4 names for num_classes=5"),
    (
      lambda c: [c["names"].pop(), c["options"].update(num_classes=4)],
      "bias is float32[5], expected float32[4]",
    ),
    (lambda c: c.update(u2pl_jax="9.0.0"), "was written by u2pl_jax 9.0.0"),
  ],
)
def test_a_folder_whose_config_is_of_another_network_is_refused(
  edit, words, tmp_path
):
  trained.save_folder(tiny_network.make_trained(), tmp_path / "net", "")
  change(tmp_path / "net/config.json", edit)
  assert words in refusal(trained.load_file, tmp_path / "net")


def test_a_run_is_no_folder_of_a_network(run):
  assert "named by --workdir" in refusal(trained.load_file, run)


def test_other_programs_can_read_the_file(path):
  network = tiny_network.make_trained()
  trained.save_safetensors(network, path)
  leaves = safetensors.numpy.load_file(path)
  kernel = network.variables["params"]["encoder"]["layer1_0"]["conv1"]["kernel"]
  np.testing.assert_array_equal(
    leaves["params/encoder/layer1_0/conv1/kernel"], kernel
  )
  with safetensors.safe_open(path, framework="numpy") as file:
    about = json.loads(file.metadata()["u2pl_jax"])
  assert about["options"] == tiny_network.make_options()
  assert about["origin"] == "a test"


def test_a_network_without_statistics_survives_the_way(path):
  sections = networks.make_sections(
    encoder="tests.toy_encoder", decoder="tests.toy_decoder"
  )
  options = {"num_classes": 5, **sections}
  model = network_lib.create(options, 5)
  network = dataclasses.replace(
    tiny_network.make_trained(),
    options=options,
    variables=torch_weights.random(model.variable_shapes()),
  )
  trained.save_safetensors(network, path)
  loaded = trained.load_file(path)
  assert loaded.model == model and loaded.variables["batch_stats"] == {}
  torch_weights.assert_same(loaded.variables, network.variables)


def test_a_folder_that_takes_no_file_is_named(tmp_path):
  path = tmp_path / "none" / "net.safetensors"
  with pytest.raises(OSError, match="net.safetensors cannot be written"):
    trained.save_safetensors(tiny_network.make_trained(), path)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_truncated_files_are_refused(kept, path):
  trained.save_safetensors(tiny_network.make_trained(), path)
  os.truncate(path, int(kept * path.stat().st_size))
  assert "damaged .safetensors file" in refusal(trained.load_file, path)


def write(path, about, **leaves):
  leaves = leaves or {"params/kernel": np.ones(2, np.float32)}
  safetensors.numpy.save_file(leaves, path, about)


@pytest.mark.parametrize("about", [None, {"format": "pt"}])
def test_files_of_other_writers_are_refused(about, path):
  write(path, about)
  message = refusal(trained.load_file, path)
  assert "was not written by u2pl_jax.tools.export" in message


# As version 0.1 described a network.
OLD = {"num_classes": 5, "encoder": "resnet18", "width": 4, "aspp_rates": [1]}
ABOUT = {
  "options": tiny_network.make_options(),
  "names": tiny_network.NAMES,
  "palette": tiny_network.PALETTE,
  "window": tiny_network.WINDOW,
  "state": "teacher",
}


@pytest.mark.parametrize(
  "about, words",
  [
    ('{"options": ', "damaged .safetensors file"),
    ("[]", "description of its network is faulty"),
    ("{}", "faulty (KeyError('options'))"),
    (json.dumps(ABOUT | {"options": {}}), "KeyError('num_classes')"),
    (json.dumps(ABOUT | {"options": {"num_classes": 5}}), "model is missing"),
    (
      json.dumps(ABOUT | {"options": OLD}),
      "net.safetensors was made by version 0.1 of u2pl_jax",
    ),
    (json.dumps(ABOUT | {"window": 3}), "description of its network is faulty"),
    (json.dumps(ABOUT), "is missing, expected float32[8]"),
  ],
)
def test_descriptions_that_do_not_fit_are_refused(about, words, path):
  write(path, {"u2pl_jax": about})
  assert words in refusal(trained.load_file, path)


def test_a_published_file_gives_options_and_guessed_classes(tmp_path):
  path = tmp_path / "net.npz"
  published = dict(num_classes=21, aux_head=False)
  np.savez(path, **torch_weights.state_dict(**published))
  network = trained.load_file(path)
  shapes = torch_weights.shapes(**published)
  torch_weights.assert_same(network.variables, torch_weights.random(shapes))
  assert network.model.encoder.output_stride == 8
  assert network.model.decoder.aspp_rates == (12, 24, 36)
  assert network.class_names[1] == "aeroplane"
  assert (network.window, network.state) == ((513, 513), "teacher")
  assert network.origin == str(path)


def test_an_encoder_alone_is_refused(tmp_path):
  path = tmp_path / "net.npz"
  entries, _ = torch_networks.canonicalize(torch_weights.imagenet())
  np.savez(path, **entries)
  message = refusal(trained.load_file, path)
  assert "holds an encoder alone" in message


@pytest.mark.parametrize("name", ["net.npz", "net.safetensors"])
def test_absent_files_are_named(name, tmp_path):
  assert "no such file" in refusal(trained.load_file, tmp_path / name)


@pytest.mark.parametrize("name", ["net.pth", "net"])
def test_other_files_are_refused_with_a_way_out(name, tmp_path):
  (tmp_path / name).write_bytes(b"")
  message = refusal(trained.load_file, tmp_path / name)
  assert "data_prep.convert_torch_resnet" in message and "--workdir" in message
