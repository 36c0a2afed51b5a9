"""Files of DINOv2 and UniMatch V2 to .npz and back."""

import numpy as np
import pytest

from data_prep import convert_torch_resnet
from tests import networks
from tests.parity import vit
from u2pl_jax.models import pretrained, torch_names, torch_networks

torch = pytest.importorskip("torch")

# Entries that hold values of their own; all others are 0.
TOLD = ("encoder.cls_token", "encoder.blocks.11.attn.qkv.weight")


def make(encoder="dinov2_vits14", **options):
  return networks.make(
    num_classes=5, encoder=encoder, decoder="dpt", rep_channels=0, **options
  )


@pytest.fixture(scope="module")
def shapes():
  return make().variable_shapes()


@pytest.fixture(scope="module")
def entries(shapes):
  """Tensors by canonical names; zeros share one number, to make small files."""
  tensors = {}
  for name, shape in torch_names.torch_shapes(shapes).items():
    tensors[name] = torch.zeros(1).expand(shape)
    if name in TOLD:
      tensors[name] = torch.from_numpy(vit.make_entry(name, shape))
  return tensors


def encoder_of(entries):
  return {
    name.removeprefix("encoder."): value
    for name, value in entries.items()
    if name.startswith("encoder.")
  }


def convert(source, target, *options):
  return convert_torch_resnet.main([str(source), str(target), *options])


def assert_told(variables, entries):
  found = torch_names.to_torch(variables)
  for name in TOLD:
    np.testing.assert_array_equal(found[name], entries[name].numpy())


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_file_of_the_hub_fills_the_encoder(
  ending, entries, shapes, tmp_path, capsys
):
  source, target = tmp_path / f"in{ending}", tmp_path / "out.npz"
  tensors = encoder_of(entries)
  if ending == ".pth":
    torch.save(tensors, source)
  else:
    safetensors_torch = pytest.importorskip("safetensors.torch")
    whole = {name: value.contiguous() for name, value in tensors.items()}
    safetensors_torch.save_file(whole, source)
  assert convert(source, target) == 0
  assert "dinov2_vits14, encoder alone; 175 entries" in capsys.readouterr().out
  loaded = pretrained.load_pretrained(target, shapes)
  assert loaded.parts == ("encoder",)
  assert_told(loaded.variables, entries)


@pytest.fixture(scope="module")
def checkpoint(entries, tmp_path_factory):
  """A file as UniMatch V2 saves it; its student has another class token."""
  published, called = torch_networks.as_published(entries)
  student = {f"module.{name}": value for name, value in published.items()}
  teacher = dict(student)
  student["module.backbone.cls_token"] = torch.ones(1, 1, 384)
  path = tmp_path_factory.mktemp("published") / "best.pth"
  networks_of = {called["student"]: student, called["teacher"]: teacher}
  notes = {"epoch": 3, "previous_best": np.float64(80.0)}
  torch.save(networks_of | notes, path)
  return path


def test_a_published_checkpoint_is_a_whole_network_and_written_back(
  checkpoint, entries, tmp_path, capsys
):
  target, back = tmp_path / "out.npz", tmp_path / "back.pth"
  assert convert(checkpoint, target) == 0
  output = capsys.readouterr().out
  assert "teacher, dinov2_vits14, dpt (" in output and "5 classes" in output
  recognized, variables = pretrained.load_network(target)
  assert recognized.sections["model"]["decoder"] == "dpt"
  assert_told(variables, entries)
  convert_torch_resnet.save(variables, back, state="teacher")
  written = torch.load(back, weights_only=True)["model_ema"]
  expected, _ = torch_networks.as_published(entries)
  assert {n: v.shape for n, v in written.items()} == {
    n: v.shape for n, v in expected.items()
  }
  assert written["backbone.cls_token"].equal(expected["backbone.cls_token"])


def test_its_student_is_taken_on_request(checkpoint, tmp_path):
  target = tmp_path / "out.npz"
  assert convert(checkpoint, target, "--state=student", "--encoder_only") == 0
  with np.load(target) as arrays:
    assert set(arrays["encoder.cls_token"].ravel()) == {1.0}
    assert all(name.startswith("encoder.") for name in arrays)


@pytest.mark.parametrize("name", ["dinov2_vitb14", "dinov2_vits14_reg"])
def test_a_file_of_another_encoder_is_refused_and_both_are_named(
  name, entries, tmp_path
):
  source, target = tmp_path / "in.pth", tmp_path / "out.npz"
  torch.save(encoder_of(entries), source)
  assert convert(source, target) == 0
  with pytest.raises(ValueError) as error:
    pretrained.load_pretrained(target, make(name).variable_shapes())
  message = str(error.value)
  assert f"(dinov2_vits14, encoder alone) does not fit the network ({name}" in (
    message
  )
  assert "\n" not in message


def test_an_entry_too_many_is_refused(entries, tmp_path, capsys):
  source, target = tmp_path / "in.pth", tmp_path / "out.npz"
  torch.save(encoder_of(entries) | {"extra.weight": torch.zeros(2)}, source)
  assert convert(source, target) == 1
  assert "extra: encoder.extra.weight" in capsys.readouterr().err


def test_a_damaged_safetensors_file_is_refused(tmp_path, capsys):
  source = tmp_path / "in.safetensors"
  source.write_bytes(b"no such file")
  assert convert(source, tmp_path / "out.npz") == 1
  assert "damaged .safetensors file" in capsys.readouterr().err
