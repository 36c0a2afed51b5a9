"""PyTorch files to .npz and runs to PyTorch files, and what is refused."""

import builtins
import os
import pathlib
import shutil

import numpy as np
import pytest

from data_prep import convert_torch_resnet
from tests import tiny_network, torch_weights
from u2pl_jax.models import pretrained, torch_names

torch = pytest.importorskip("torch")

# Beside the project; see the skip of the test that needs it.
LITE0_FILE = (
  pathlib.Path(__file__).parents[3]
  / "shared/weights/efficientnet-lite0-57934424.pth"
)


def to_tensors(state_dict, prefix=""):
  return {
    prefix + name: torch.from_numpy(np.array(value))
    for name, value in state_dict.items()
  }


@pytest.fixture
def source(tmp_path):
  return tmp_path / "in.pth"


@pytest.fixture
def target(tmp_path):
  return tmp_path / "out.npz"


def save(content, path, *, legacy=False):
  torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def convert(source, target, *options):
  arguments = [str(source), str(target), *options]
  assert convert_torch_resnet.main(arguments) == 0


def fail(capsys, *arguments):
  """The error message of a run that must fail and leave nothing behind."""
  arguments = [str(argument) for argument in arguments]
  files = [word for word in arguments if not word.startswith("--")]
  folder = pathlib.Path(files[-1]).parent
  before = sorted(folder.iterdir())
  assert convert_torch_resnet.main(arguments) == 1
  assert sorted(folder.iterdir()) == before
  message = capsys.readouterr().err
  assert message.startswith("error: ") and message.count("\n") == 1
  return message.strip()


def published_checkpoint(**options):
  """What the published code saves, a student of seed 0, a teacher of 1."""
  student, teacher = (
    to_tensors(torch_weights.state_dict(seed, **options), "module.")
    for seed in (0, 1)
  )
  weight = torch.nn.Parameter(torch.ones(3))
  optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
  weight.sum().backward()
  optimizer.step()
  return {
    "epoch": 3,
    "model_state": student,
    "optimizer_state": optimizer.state_dict(),
    "teacher_state": teacher,
    "best_miou": np.float64(0.5),
    # These two in the branch with_AEL only.
    "class_criterion": torch.rand(3, 19),
    "cutmix_bank": torch.zeros(19, 5),
  }


@pytest.mark.parametrize(
  "options", torch_weights.NETWORKS, ids=torch_weights.name
)
def test_round_trip_through_pytorch_is_exact(options, source, target):
  shapes = torch_weights.shapes(**options)
  variables = torch_weights.random(shapes)
  save(to_tensors(torch_names.to_torch(variables)), source)
  convert(source, target)
  loaded = pretrained.load_pretrained(target, shapes)
  torch_weights.assert_same(loaded.variables, variables)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
  "options",
  [*torch_weights.RESNETS[4:6], torch_weights.LITE0],
  ids=torch_weights.name,
)
def test_imagenet_files_are_converted(options, legacy, source, target, capsys):
  save(to_tensors(torch_weights.imagenet(**options)), source, legacy=legacy)
  convert(source, target)
  shapes = torch_weights.shapes(**options)
  expected = torch_weights.encoder_of(torch_weights.random(shapes))
  loaded = pretrained.load_pretrained(target, shapes)
  torch_weights.assert_same(loaded.variables, expected)
  printed = capsys.readouterr().out
  stem = f"stem={options['stem']}" if "stem" in options else ""
  assert options["encoder"] in printed and stem in printed
  assert "encoder alone" in printed and "fc.bias" in printed


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("state,seed", [("", 1), ("student", 0)])
def test_checkpoints_hold_two_networks(
  state, seed, legacy, source, target, capsys
):
  save(published_checkpoint(), source, legacy=legacy)
  convert(source, target, *([f"--state={state}"] if state else []))
  shapes = torch_weights.shapes()
  loaded = pretrained.load_pretrained(target, shapes)
  expected = torch_weights.random(shapes, seed)
  torch_weights.assert_same(loaded.variables, expected)
  assert f"{state or 'teacher'}, resnet18 (" in capsys.readouterr().out


def test_a_checkpoint_without_teacher_gives_its_student(source, target, capsys):
  content = published_checkpoint()
  del content["teacher_state"]
  save(content, source)
  assert "holds no teacher" in fail(capsys, source, target, "--state=teacher")
  convert(source, target)
  assert "student, resnet18" in capsys.readouterr().out


def test_encoder_alone_serves_other_classes(source, target):
  save(published_checkpoint(), source)
  convert(source, target, "--encoder_only")
  shapes = torch_weights.shapes(num_classes=9)
  loaded = pretrained.load_pretrained(target, shapes)
  assert loaded.parts == ("encoder",)


def test_half_precision_becomes_single(source, target):
  tensors = to_tensors(torch_weights.imagenet())
  save({n: v.to(torch.bfloat16) for n, v in tensors.items()}, source)
  convert(source, target)
  with np.load(target) as arrays:
    weight = arrays["encoder.bn1.weight"]
  assert weight.dtype == np.float32
  expected = tensors["bn1.weight"].to(torch.bfloat16).float().numpy()
  np.testing.assert_array_equal(weight, expected)


@pytest.mark.skipif(
  not LITE0_FILE.is_file(), reason=f"{LITE0_FILE.name} is absent"
)
def test_efficientnet_lite0_of_imagenet_is_converted(target, capsys):
  convert(LITE0_FILE, target)
  assert "288 entries" in capsys.readouterr().out
  shapes = torch_weights.shapes(**torch_weights.LITE0)
  loaded = pretrained.load_pretrained(target, shapes)
  original = torch.load(LITE0_FILE, weights_only=True)
  np.testing.assert_array_equal(
    loaded.variables["params"]["encoder"]["stem_conv"]["kernel"],
    original["_conv_stem.weight"].numpy().transpose(2, 3, 1, 0),
  )


def damage(state_dict, kind):
  """Breaks one entry; returns what the message must say."""
  if kind == "missing":
    del state_dict["encoder.layer4.1.bn1.running_var"]
    return "missing: encoder.layer4.1.bn1.running_var"
  if kind == "extra":
    state_dict["decoder.classifier.9.bias"] = torch.ones(3)
    return "extra: decoder.classifier.9.bias"
  if kind == "shape":
    state_dict["encoder.conv1.0.weight"] = torch.ones(4, 3, 5, 5)
    return "wrong shape: encoder.conv1.0.weight is (4, 3, 5, 5)"
  if kind == "classes":
    state_dict["auxor.aux.4.bias"] = torch.ones(7)
    return "wrong shape: auxor.aux.4.bias is (7,), not (3,)"
  if kind == "nan":
    state_dict["decoder.aspp.conv3.0.weight"][0, 0, 1, 1] = torch.nan
    return "not finite: decoder.aspp.conv3.0.weight"
  if kind == "stem":
    state_dict["encoder.conv1.weight"] = torch.ones(4, 3, 7, 7)
    return "extra: encoder.conv1.weight"
  state_dict["encoder.bn1.bias"] = 3
  return "no tensor: encoder.bn1.bias"


@pytest.mark.parametrize(
  "kind", ["missing", "extra", "shape", "classes", "nan", "stem", "number"]
)
def test_faulty_entries_are_named(kind, source, target, capsys):
  content = published_checkpoint()
  content["teacher_state"] = to_tensors(torch_weights.state_dict())
  expected = damage(content["teacher_state"], kind)
  save(content, source)
  message = fail(capsys, source, target)
  assert expected in message and str(source) in message
  assert "1 entry" in message


class Malicious:
  def __reduce__(self):
    return os.mkdir, ("made_by_a_pickle",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_refused(
  legacy, source, target, capsys, monkeypatch, tmp_path
):
  content = published_checkpoint() | {"args": Malicious()}
  save(content, source, legacy=legacy)
  monkeypatch.chdir(tmp_path)
  message = fail(capsys, source, target)
  assert f"{source}: refused" in message and "mkdir" in message


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.4, 0.99])
def test_truncated_files_are_refused(kept, legacy, source, target, capsys):
  save(published_checkpoint(), source, legacy=legacy)
  content = source.read_bytes()
  source.write_bytes(content[: int(kept * len(content))])
  assert f"{source}: damaged" in fail(capsys, source, target)


@pytest.mark.parametrize(
  "content,message",
  [
    ([1, 2], "holds no state dict"),
    ({}, "holds no state dict"),
    ({1: 2}, "no state dict of named tensors"),
    ({"model_state": 3}, "no state dict of named tensors"),
    ({"weight": torch.ones(2)}, "holds no known encoder (dinov2_vits14"),
  ],
)
def test_files_without_a_network_are_refused(
  content, message, source, target, capsys
):
  save(content, source)
  assert message in fail(capsys, source, target)


def test_an_absent_file_is_named(source, target, capsys):
  assert str(source) in fail(capsys, source, target)


def test_an_old_result_survives_a_failure(source, target, capsys):
  target.write_bytes(b"old")
  save([1], source)
  fail(capsys, source, target)
  assert target.read_bytes() == b"old"


def test_swapped_names_are_refused(source, target, capsys):
  assert "must end with .npz" in fail(capsys, target, source)


def test_state_needs_a_checkpoint(source, target, capsys):
  save(to_tensors(torch_weights.imagenet()), source)
  assert "omit --state" in fail(capsys, source, target, "--state=teacher")


def test_absent_pytorch_is_told_in_a_line(source, target, capsys, monkeypatch):
  import_module = builtins.__import__

  def refuse_torch(name, *args):
    if name == "torch":
      raise ImportError
    return import_module(name, *args)

  monkeypatch.setattr(builtins, "__import__", refuse_torch)
  assert "pip install torch" in fail(capsys, source, target)


@pytest.mark.parametrize(
  "arguments",
  [
    ["in.pth"],
    ["in.pth", "out.npz", "--checkpoint=last"],
    ["--workdir=run", "in.pth", "out.npz"],
    ["--workdir=run", "out.pth", "--encoder_only"],
  ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, capsys):
  with pytest.raises(SystemExit, match="2"):
    convert_torch_resnet.main(arguments)
  assert "error: give " in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Checkpoints of steps 1 (the best) and 2, and their variables."""
  workdir = tmp_path_factory.mktemp("runs") / "run"
  config = tiny_network.make_sections(aux_head=True)
  config |= {"eval": {"crop_size": tiny_network.WINDOW}}
  return workdir, tiny_network.save_run(workdir, config=config)


@pytest.mark.parametrize(
  "options,step,kind,key",
  [
    ([], 1, "teacher", "teacher_state"),
    (["--checkpoint=last"], 2, "teacher", "teacher_state"),
    (["--state=student"], 1, "student", "model_state"),
  ],
)
def test_runs_are_written_with_published_names(
  options, step, kind, key, run, source
):
  workdir, variables = run
  arguments = [f"--workdir={workdir}", str(source), *options]
  assert convert_torch_resnet.main(arguments) == 0
  content = torch.load(source, weights_only=True)
  assert list(content) == [key]
  expected = torch_names.to_torch(variables[step, kind])
  assert content[key].keys() == expected.keys()
  for name, value in content[key].items():
    is_counter = name.endswith("num_batches_tracked")
    assert value.dtype == (torch.int64 if is_counter else torch.float32)
    np.testing.assert_array_equal(value.numpy(), expected[name])


def test_an_exported_run_can_be_loaded_again(run, source, target):
  workdir, variables = run
  assert convert_torch_resnet.main([f"--workdir={workdir}", str(source)]) == 0
  convert(source, target)
  expected = variables[1, "teacher"]
  loaded = pretrained.load_pretrained(target, expected)
  torch_weights.assert_same(loaded.variables, expected)


def test_a_run_without_teacher_gives_its_student(tmp_path, source, capsys):
  workdir = tmp_path / "run"
  tiny_network.save_run(workdir, has_teacher=False)
  arguments = [f"--workdir={workdir}", str(source)]
  assert "has no teacher" in fail(capsys, *arguments, "--state=teacher")
  assert convert_torch_resnet.main(arguments) == 0
  assert "student of step 1" in capsys.readouterr().out
  assert list(torch.load(source, weights_only=True)) == ["model_state"]


def test_folders_without_a_run_are_refused(run, tmp_path, source, capsys):
  message = fail(capsys, source, f"--workdir={tmp_path}")
  assert f"{tmp_path} holds no run" in message
  workdir = tmp_path / "run"
  shutil.copytree(run[0], workdir)
  for step in ("1", "2"):
    shutil.rmtree(workdir / "checkpoints" / step)
  message = fail(capsys, source, f"--workdir={workdir}", "--checkpoint=last")
  assert "holds no last checkpoint" in message


def test_a_damaged_checkpoint_is_named(run, tmp_path, source, capsys):
  workdir = tmp_path / "run"
  shutil.copytree(run[0], workdir)
  folder = workdir / "checkpoints" / "1"
  (folder / "state" / "_METADATA").write_text("{")
  message = fail(capsys, source, f"--workdir={workdir}")
  assert f"{folder}: damaged checkpoint" in message
