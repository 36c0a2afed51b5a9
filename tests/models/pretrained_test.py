"""Starting networks from converted files, and what is refused."""

import pickle

import numpy as np
import pytest

from tests import tiny_network, torch_weights
from u2pl_jax.models import network, pretrained, saved_networks, torch_networks


@pytest.fixture
def path(tmp_path):
  return tmp_path / "weights.npz"


def write(path, state_dict):
  np.savez(path, **state_dict)
  return path


def write_encoder(path, **options):
  entries, _ = torch_networks.canonicalize(torch_weights.imagenet(**options))
  return write(path, entries)


def refusal(path, **options):
  """The message of a file that must not be loaded, without the path."""
  with pytest.raises((ValueError, OSError)) as error:
    pretrained.load_pretrained(path, torch_weights.shapes(**options))
  message = str(error.value)
  assert "\n" not in message and message.startswith(str(path))
  return message.removeprefix(str(path))


@pytest.mark.parametrize(
  "options", torch_weights.NETWORKS, ids=torch_weights.name
)
def test_encoder_file_fills_the_encoder_alone(options, path):
  shapes = torch_weights.shapes(**options)
  write_encoder(path, **options)
  loaded = pretrained.load_pretrained(path, shapes)
  assert loaded.parts == ("encoder",) and not loaded.left_out
  expected = torch_weights.encoder_of(torch_weights.random(shapes))
  torch_weights.assert_same(loaded.variables, expected)


def test_whole_file_fills_the_whole_network(path):
  shapes = torch_weights.shapes()
  write(path, torch_weights.state_dict())
  loaded = pretrained.load_pretrained(str(path), shapes)
  assert set(loaded.parts) == {"encoder", "decoder", "auxor"}
  torch_weights.assert_same(loaded.variables, torch_weights.random(shapes))


def test_heads_that_the_network_lacks_are_left_out_and_told(path):
  shapes = torch_weights.shapes(aux_head=False, rep_channels=0)
  write(path, torch_weights.state_dict())
  loaded = pretrained.load_pretrained(path, shapes)
  assert loaded.left_out == ("auxor", "decoder.representation")
  assert loaded.parts == ("encoder", "decoder")
  assert "representation" not in loaded.variables["params"]["decoder"]
  kernel = loaded.variables["params"]["decoder"]["head"]["conv"]["kernel"]
  np.testing.assert_array_equal(
    kernel.transpose(3, 2, 0, 1),
    torch_weights.state_dict()["decoder.head.0.weight"],
  )


@pytest.mark.parametrize(
  "lacking,missing",
  [
    (dict(aux_head=False), "missing: auxor.aux.0.weight"),
    (dict(rep_channels=0), "missing: decoder.representation.8.bias"),
  ],
)
def test_heads_that_the_file_lacks_are_refused(lacking, missing, path):
  write(path, torch_weights.state_dict(**lacking))
  message = refusal(path)
  assert missing in message and "--encoder_only" in message


def test_missing_extra_misshapen_and_nan_entries_are_listed(path):
  state_dict = torch_weights.state_dict()
  del state_dict["encoder.bn1.bias"]
  state_dict["encoder.fc.bias"] = np.ones(2, np.float32)
  state_dict["head.bias"] = np.ones(2, np.float32)
  state_dict["encoder.bn1.weight"] = np.ones(9, np.float32)
  state_dict["decoder.head.1.bias"][0] = np.nan
  message = refusal(write(path, state_dict))
  assert "5 entries" in message and "--encoder_only" not in message
  for problem in (
    "missing: encoder.bn1.bias",
    "extra: encoder.fc.bias",
    "extra: head.bias",
    "wrong shape: encoder.bn1.weight is (9,), not (8,)",
    "not finite: decoder.head.1.bias",
  ):
    assert problem in message


def test_another_number_of_classes_is_refused_with_a_way_out(path):
  message = refusal(write(path, torch_weights.state_dict(num_classes=7)))
  assert "4 entries" in message and "7 classes" in message
  assert "wrong shape: decoder.classifier.8.bias is (7,), not (3,)" in message
  assert message.endswith("--encoder_only")


@pytest.mark.parametrize(
  "found,wanted",
  [
    (dict(encoder="resnet50", stem="conv7"), dict(encoder="resnet50")),
    (dict(encoder="resnet101"), dict(encoder="resnet50")),
    (torch_weights.LITE0, dict(encoder="resnet50")),
  ],
  ids=["stem", "depth", "kind"],
)
def test_another_encoder_is_refused_and_described(found, wanted, path):
  message = refusal(write_encoder(path, **found), **wanted)
  assert f"({found['encoder']}" in message and "extra: encoder." in message


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_truncated_files_are_refused(kept, path):
  content = write_encoder(path).read_bytes()
  path.write_bytes(content[: int(kept * len(content))])
  assert "not an .npz file, or a damaged one" in refusal(path)


def test_corrupted_arrays_are_refused(path):
  content = bytearray(write_encoder(path).read_bytes())
  content[len(content) // 2] ^= 0xFF
  path.write_bytes(content)
  assert "damaged .npz file" in refusal(path)


def test_pickled_objects_are_refused(path):
  np.savez(path, a=np.array([{}], dtype=object))
  assert "allow_pickle" in refusal(path)


def test_other_files_are_refused_and_the_converter_named(tmp_path):
  path = tmp_path / "weights.pth"
  path.write_bytes(pickle.dumps({"a": 1}))
  assert "-m data_prep.convert_torch_resnet FILE OUT.npz" in refusal(path)


def test_missing_files_and_folders_are_refused(path, tmp_path):
  assert refusal(path) == ": no such file"
  assert "holds no network" in refusal(tmp_path)


def network_refusal(path):
  with pytest.raises((ValueError, OSError)) as error:
    pretrained.load_network(path)
  message = str(error.value)
  assert "\n" not in message and message.startswith(str(path))
  return message.removeprefix(str(path))


@pytest.mark.parametrize(
  "changes",
  [
    dict(encoder="resnet18", aux_head=False, rep_channels=0),
    dict(encoder="resnet50", stem="conv7", num_classes=19),
  ],
  ids=["bare", "heads"],
)
def test_a_whole_network_describes_itself(changes, path):
  write(path, torch_weights.state_dict(**changes))
  found, variables = pretrained.load_network(str(path))
  model = network.create(found.sections, found.num_classes)
  assert model.encoder.output_stride == 8
  assert model.decoder.aspp_rates == (12, 24, 36)
  shapes = torch_weights.shapes(**changes)
  torch_weights.assert_same(variables, torch_weights.random(shapes))
  assert found.num_classes == changes.get("num_classes", 3)


def test_an_encoder_alone_is_recognized(path):
  write_encoder(path)
  found = pretrained.recognize(path)
  assert not found.is_whole
  assert found.sections["model"]["encoder"] == "resnet18"


def test_networks_that_a_file_does_not_describe_are_refused(path):
  write_encoder(path)
  assert "holds an encoder alone" in network_refusal(path)
  write(path, torch_weights.state_dict(aspp_rates=(2, 4)))
  message = network_refusal(path)
  assert "resnet18 (stem=deep" in message
  assert "does not tell decoder.aspp_rates;" in message
  write(path, torch_weights.state_dict(**torch_weights.LITE0))
  message = network_refusal(path)
  assert "efficientnet_lite0" in message and ".safetensors" in message
  assert "does not tell encoder.output_stride;" in message


def test_faults_of_a_whole_network_are_named(path):
  state_dict = torch_weights.state_dict()
  state_dict["decoder.head.1.bias"][0] = np.nan
  del state_dict["encoder.bn1.bias"]
  message = network_refusal(write(path, state_dict))
  assert "missing: encoder.bn1.bias" in message
  assert "not finite: decoder.head.1.bias" in message


def test_a_network_without_classifier_is_refused(path):
  state_dict = {
    name: value
    for name, value in torch_weights.state_dict(aux_head=False).items()
    if not name.startswith("decoder.classifier")
  }
  assert "num_classes" in network_refusal(write(path, state_dict))


def save_folder(path, *, names=tiny_network.NAMES, **changes):
  """A tiny network as a folder; returns its variables."""
  options = tiny_network.make_options(**changes)
  variables = tiny_network.make_variables(options)
  about = {"options": options, "names": names}
  saved_networks.write_folder(path, about, variables, "")
  return variables


def tiny_shapes(**changes):
  options = tiny_network.make_options(**changes)
  return network.create(options, len(tiny_network.NAMES)).variable_shapes()


@pytest.mark.parametrize("part", ["", "model.safetensors"])
def test_a_shared_network_fills_the_whole_network(part, tmp_path):
  variables = save_folder(tmp_path / "net")
  path = str(tmp_path / "net" / part)
  loaded = pretrained.load_pretrained(path, tiny_shapes())
  torch_weights.assert_same(loaded.variables, variables)
  assert loaded.parts == ("encoder", "decoder")
  assert loaded.class_names == tiny_network.NAMES
  assert not loaded.left_out and not loaded.remembered


def test_heads_of_a_shared_network_are_left_out_and_told(tmp_path):
  variables = save_folder(tmp_path / "net")
  shapes = tiny_shapes(rep_channels=0)
  loaded = pretrained.load_pretrained(tmp_path / "net", shapes)
  assert loaded.left_out == ("decoder.representation",)
  for collection in variables.values():
    del collection["decoder"]["representation"]
  torch_weights.assert_same(loaded.variables, variables)


@pytest.mark.parametrize(
  "saved, wanted, difference",
  [
    (
      dict(rep_channels=0),
      dict(rep_channels=8),
      "batch_stats/decoder/representation/block1/bn/mean is missing",
    ),
    (
      dict(width=4),
      tiny_network.ENCODER | dict(encoder="resnet34"),
      "batch_stats/encoder/layer1_2/bn1/mean is missing",
    ),
  ],
)
def test_a_shared_network_of_another_sort_is_refused(
  saved, wanted, difference, tmp_path
):
  path = tmp_path / "net"
  save_folder(path, **saved)
  with pytest.raises(ValueError) as caught:
    pretrained.load_pretrained(path, tiny_shapes(**wanted))
  message = str(caught.value)
  assert message.startswith(f"{path} (resnet18, deeplab, 5 classes) does not")
  assert difference in message and "\n" not in message


def test_a_faulty_description_of_a_shared_network_is_refused(tmp_path):
  path = tmp_path / "net"
  variables = save_folder(path)
  saved_networks.write_folder(path, {"names": ["a"]}, variables, "")
  with pytest.raises(ValueError, match="description of its network is faulty"):
    pretrained.load_pretrained(path, tiny_shapes())
  options = tiny_network.make_options(width=8)
  about = {"options": options, "names": tiny_network.NAMES}
  saved_networks.write_folder(path, about, variables, "")
  with pytest.raises(ValueError, match="another network than it says"):
    pretrained.load_pretrained(path, tiny_shapes())


def test_sections_are_read_of_both_sorts_of_files(path, tmp_path):
  save_folder(tmp_path / "net")
  sections = pretrained.read_sections(tmp_path / "net")
  assert sections == tiny_network.make_sections()
  write(path, torch_weights.state_dict())
  told = pretrained.recognize(path).sections
  assert pretrained.read_sections(path) == told
