"""Exported networks, run without the project, against the project's own."""

import builtins
import dataclasses
import importlib.metadata
import json
import pathlib
import re
import subprocess
import venv

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image

from tests import (
  drawn_network,
  networks,
  one_line,
  tiny_network,
  tiny_run,
  tiny_vit,
  torch_weights,
)
from u2pl_jax.evaluation import outputs as outputs_lib
from u2pl_jax.evaluation import protocol
from u2pl_jax.models import forward, torch_names
from u2pl_jax.predict import trained
from u2pl_jax.tools import export, export_program

HEIGHT, WIDTH = tiny_network.WINDOW
# Logits here are of order 1, so that rounding, in another order of operations,
# changes them by about 1e-6. Where the best two are further apart than this,
# two programs must agree on the class.
MARGIN = 1e-4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "run"
  tiny_network.save_run(folder)
  return folder


@pytest.fixture(scope="module")
def program(run, tmp_path_factory):
  """An exported program, from the command line."""
  out = tmp_path_factory.mktemp("exported") / "net.stablehlo"
  assert export.main([f"--workdir={run}", f"--out={out}"]) == 0
  return out


@pytest.fixture
def checkpoint(tmp_path):
  path = tmp_path / "net.safetensors"
  trained.save_safetensors(tiny_network.make_trained(), path)
  return path


def make_images(count, size=tiny_network.WINDOW, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, *size, 3), np.uint8)


def assert_same_masks(network, images, outputs):
  """The outputs are those of the project's evaluation of whole images."""
  predict = outputs_lib.make_predict(
    network.model, protocol.Protocol("whole", network.window), ("labels",)
  )
  labels = predict(network.variables, images)["labels"]
  net = forward.make_net(network.model, network.variables)
  logits = np.asarray(jax.jit(net)(network.model.normalize(images)))
  ranked = np.sort(logits, axis=-1)
  is_clear = ranked[..., -1] - ranked[..., -2] > MARGIN
  assert is_clear.mean() > 0.99
  assert len(np.unique(labels)) > 1
  assert outputs["mask"].dtype == np.uint8
  np.testing.assert_array_equal(
    np.asarray(outputs["mask"])[is_clear], np.asarray(labels)[is_clear]
  )
  assert outputs["confidence"].dtype == np.float32
  np.testing.assert_allclose(
    outputs["confidence"], jax.nn.softmax(logits).max(-1), rtol=1e-4
  )


# All that the files and the script of the documentation need, with what these
# packages need themselves.
ELSEWHERE = (
  "flatbuffers", "jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "pillow",
  "scipy",
)  # fmt: skip


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
  """A Python of a virtual environment that has no other packages."""
  folder = tmp_path_factory.mktemp("elsewhere")
  venv.create(folder)
  (site,) = folder.glob("lib/python*/site-packages")
  for name in ELSEWHERE:
    found = importlib.metadata.distribution(name)
    for part in {path.parts[0] for path in found.files} - {".."}:
      if (site / part).exists():
        continue
      (site / part).symlink_to(pathlib.Path(found.locate_file(part)).resolve())
  return folder / "bin" / "python"


def run_elsewhere(python, code, folder, *arguments):
  """Runs Python code in an environment without the project."""
  path = folder / "program.py"
  path.write_text(code)
  finished = subprocess.run(
    [str(python), "-I", str(path), *map(str, arguments)],
    cwd=folder,
    env={"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert finished.returncode == 0, finished.stderr


CALL = """
import importlib.util, sys
import numpy as np
import jax.export

for name in ("u2pl_jax", "flax", "tensorflow"):
  if importlib.util.find_spec(name):
    sys.exit(f"{name} can be imported")
net = jax.export.deserialize(open(sys.argv[1], "rb").read())
for count in ("1", "3"):
  outputs = net.call(np.load("images.npy")[: int(count)])
  np.savez(count, **outputs)
"""


def test_an_environment_without_the_project_makes_the_same_masks(
  run, program, elsewhere, tmp_path
):
  images = make_images(3)
  np.save(tmp_path / "images.npy", images)
  run_elsewhere(elsewhere, CALL, tmp_path, program)
  network = trained.load_run(run)
  for count in (1, 3):
    with np.load(tmp_path / f"{count}.npz") as outputs:
      assert_same_masks(network, images[:count], outputs)


def test_the_script_of_the_documentation_works(
  run, program, elsewhere, tmp_path
):
  text = pathlib.Path("docs/deployment.md").read_text()
  script = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
  # As wide as the network's images but lower: padded, and not resized.
  photo = make_images(1, (20, WIDTH))[0]
  Image.fromarray(photo).save(tmp_path / "photo.png")
  names = program.with_suffix(""), "photo.png", "mask.png"
  run_elsewhere(elsewhere, script, tmp_path, *names)
  mask = Image.open(tmp_path / "mask.png")
  assert mask.size == (WIDTH, 20) and mask.mode == "P"
  colors = np.reshape(mask.getpalette(), (-1, 3))[: len(tiny_network.NAMES)]
  np.testing.assert_array_equal(colors, tiny_network.PALETTE)

  padded = np.empty((1, HEIGHT, WIDTH, 3), np.uint8)
  padded[:] = (124, 116, 104)
  padded[0, :20] = photo
  network = trained.load_run(run)
  outputs = jax.export.deserialize(program.read_bytes()).call(padded)
  assert_same_masks(network, padded, outputs)
  agreeing = np.asarray(mask) == np.asarray(outputs["mask"])[0, :20]
  assert agreeing.mean() > 0.99


def test_the_description_says_what_goes_in_and_out(run, program):
  about = json.loads(program.with_suffix(".json").read_text())
  assert about["origin"] == f"{run}, teacher of step 1"
  assert about["input"]["shape"] == ["batch", HEIGHT, WIDTH, 3]
  assert about["input"]["dtype"] == "uint8"
  assert about["input"]["pad_color"] == [124, 116, 104]
  for name, dtype in (("mask", "uint8"), ("confidence", "float32")):
    assert about["outputs"][name]["shape"] == ["batch", HEIGHT, WIDTH]
    assert about["outputs"][name]["dtype"] == dtype
  assert about["class_names"] == list(tiny_network.NAMES)
  assert about["palette"] == [list(color) for color in tiny_network.PALETTE]
  assert about["platforms"] == ["cpu", "cuda", "tpu"]
  assert about["versions"]["jax"] == jax.__version__


def test_a_size_is_chosen_and_files_serve_as_well_as_runs(checkpoint, tmp_path):
  out = tmp_path / "small.stablehlo"
  arguments = [f"--weights={checkpoint}", f"--out={out}", "--size=17,32"]
  assert export.main(arguments) == 0
  net = jax.export.deserialize(out.read_bytes())
  images = make_images(2, (17, 32))
  assert_same_masks(trained.load_file(checkpoint), images, net.call(images))
  with pytest.raises(ValueError, match="32"):
    net.call(make_images(2, (33, 33)))


@pytest.mark.parametrize(
  "encoder",
  ["resnet18", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)],
)
def test_one_program_takes_images_of_any_size(encoder):
  changes = {} if encoder == "resnet18" else {"encoder": encoder}
  network = tiny_network.make_trained(**changes)
  exported = export_program.to_stablehlo(network, export_program.FREE)
  about = export_program.describe_stablehlo(network, exported)
  assert about["input"]["shape"] == ["batch", "height", "width", 3]
  assert about["outputs"]["mask"]["shape"] == ["batch", "height", "width"]
  net = jax.export.deserialize(exported.serialize())
  predict = jax.jit(export_program.make_predict(network))
  # Even and odd sides, of which the max-pooling makes different numbers.
  for count, size in ((2, (33, 41)), (1, (40, 22))):
    images = make_images(count, size)
    found, expected = net.call(images), predict(images)
    np.testing.assert_allclose(
      found["confidence"], expected["confidence"], rtol=1e-4
    )
    assert np.mean(found["mask"] == expected["mask"]) > 0.99
  with pytest.raises(ValueError):
    net.call(make_images(1, (15, 33)))


def test_efficientnet_is_exported_for_all_platforms():
  network = tiny_network.make_trained(encoder="efficientnet_lite0")
  exported = export_program.to_stablehlo(network, (33, 33))
  assert exported.platforms == export_program.PLATFORMS
  net = jax.export.deserialize(exported.serialize())
  images = make_images(2, (33, 33))
  assert_same_masks(network, images, net.call(images))


def test_a_vision_transformer_takes_any_number_of_images():
  network = drawn_network.make_trained(tiny_vit.make_sections())
  exported = export_program.to_stablehlo(network, (40, 28))
  net = jax.export.deserialize(exported.serialize())
  for count in (1, 3):
    images = make_images(count, (40, 28))
    assert_same_masks(network, images, net.call(images))


def test_bfloat16_stays_inside():
  network = tiny_network.make_trained(dtype="bfloat16")
  exported = export_program.to_stablehlo(network, (33, 33))
  assert "bf16" in exported.mlir_module()
  about = export_program.describe_stablehlo(network, exported)
  assert about["outputs"]["mask"]["dtype"] == "uint8"
  assert about["outputs"]["confidence"]["dtype"] == "float32"


def test_safetensors_are_written(run, tmp_path, capsys):
  out = tmp_path / "net.safetensors"
  arguments = [f"--workdir={run}", "--format=safetensors", f"--out={out}"]
  assert export.main([*arguments, "--checkpoint=last", "--state=student"]) == 0
  expected = trained.load_run(run, "last", "student")
  torch_weights.assert_same(
    trained.load_file(out).variables, expected.variables
  )
  printed = capsys.readouterr().out
  assert "student of step 2: 5 classes" in printed
  assert f"wrote {out}" in printed


def test_a_folder_is_written_and_taken_as_a_network(tmp_path, capsys):
  config = tiny_run.make_config(tmp_path, "encoder=resnet18")
  tiny_network.save_run(tmp_path / "run", config=config)
  run = f"--workdir={tmp_path}/run"
  out = tmp_path / "shared"
  arguments = ["--format=folder", f"--out={out}", "--license=cc-by-4.0"]
  assert export.main([run, *arguments]) == 0
  assert f"wrote {out}" in capsys.readouterr().out
  shared, expected = trained.load_file(out), trained.load_run(tmp_path / "run")
  torch_weights.assert_same(shared.variables, expected.variables)
  about = json.loads((out / "config.json").read_text())
  assert about["origin"] == "run, teacher of step 1"
  for path in out.iterdir():  # Where the run lies is nobody's business.
    assert str(tmp_path).encode() not in path.read_bytes()
  card = (out / "README.md").read_text()
  assert "license: cc-by-4.0" in card and "# shared" in card
  middle = tmp_path / "net.safetensors"
  weights = [f"--weights={out}", "--format=safetensors", f"--out={middle}"]
  assert export.main(weights) == 0
  torch_weights.assert_same(
    trained.load_file(middle).variables, expected.variables
  )


@pytest.mark.parametrize(
  "state, key", [("teacher", "teacher_state"), ("student", "model_state")]
)
def test_torch_checkpoints_are_written_from_runs_and_files(
  state, key, run, tmp_path
):
  torch = pytest.importorskip("torch")
  network = trained.load_run(run, "best", state)
  middle = tmp_path / "net.safetensors"
  trained.save_safetensors(network, middle)
  expected = torch_names.to_torch(network.variables)
  for source in (
    [f"--workdir={run}", f"--state={state}"],
    [f"--weights={middle}"],
  ):
    out = tmp_path / "net.pth"
    assert export.main([*source, "--format=torch", f"--out={out}"]) == 0
    content = torch.load(out, weights_only=True)
    assert list(content) == [key] and content[key].keys() == expected.keys()
    for name, value in content[key].items():
      np.testing.assert_array_equal(value.numpy(), expected[name])
    out.unlink()


def test_a_size_that_the_network_cannot_leave_free_is_told():
  network = dataclasses.replace(
    tiny_network.make_trained(),
    options={"num_classes": 5}
    | networks.make_sections(
      encoder="tests.toy_encoder", decoder="tests.toy_decoder"
    ),
  )
  with pytest.raises(ValueError, match="--size=free.*multiples of 14"):
    export_program.to_stablehlo(network, export_program.FREE)


def fail(*arguments):
  return one_line.error_of(export.main, *arguments)


@pytest.mark.parametrize(
  "size", ["513", "513x513", "15,513", "513,15", "-33,33", "33,33,3", "a,b", ""]
)
def test_a_bad_size_is_told(size, checkpoint, tmp_path):
  out = tmp_path / "net.stablehlo"
  message = fail(f"--weights={checkpoint}", f"--out={out}", f"--size={size}")
  assert f"--size={size}: must be HEIGHT,WIDTH" in message
  assert not out.exists()


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--out=FOLDER/none/net.stablehlo"], "there is no folder FOLDER/none"),
    (["--out=FOLDER/net.pb"], "--format=stablehlo writes .stablehlo"),
    (["--format=onnx", "--out=FOLDER/net.pb"], "--format=onnx writes .onnx"),
    (
      ["--format=onnx", "--out=FOLDER/net.onnx", "--size=free"],
      "--size=free goes with --format=stablehlo only",
    ),
    (
      ["--format=torch", "--out=FOLDER/net.npz"],
      "--format=torch writes .pth",
    ),
    (
      ["--format=safetensors", "--out=FOLDER/a.safetensors", "--size=33,33"],
      "--size goes with --format=stablehlo and =onnx",
    ),
    (["--out=FOLDER/net.stablehlo", "--checkpoint=last"], "--checkpoint"),
    (
      ["--format=folder", "--out=FOLDER/net"],
      "--format=folder needs --workdir",
    ),
    (
      ["--out=FOLDER/net.stablehlo", "--license=mit"],
      "--license goes with --format=folder",
    ),
    (
      ["--format=safetensors", "--out=FOLDER/taken.safetensors"],
      "taken.safetensors cannot be written",
    ),
  ],
)
def test_flags_that_do_not_fit_are_told(arguments, words, checkpoint, tmp_path):
  (tmp_path / "taken.safetensors").mkdir()
  arguments = [word.replace("FOLDER", str(tmp_path)) for word in arguments]
  message = fail(f"--weights={checkpoint}", *arguments)
  assert words.replace("FOLDER", str(tmp_path)) in message


@pytest.mark.parametrize(
  "source, words",
  [
    ("--weights=FOLDER/none.safetensors", "no such file"),
    ("--weights=FOLDER/net.pt", "expected a .safetensors file"),
    ("--workdir=FOLDER", "holds no run"),
  ],
)
def test_a_network_that_is_not_there_is_told(source, words, tmp_path):
  source = source.replace("FOLDER", str(tmp_path))
  message = fail(source, f"--out={tmp_path}/net.stablehlo")
  assert words in message and str(tmp_path) in message


def test_absent_pytorch_is_told(checkpoint, tmp_path, monkeypatch):
  import_module = builtins.__import__

  def refuse_torch(name, *args):
    if name == "torch":
      raise ImportError
    return import_module(name, *args)

  monkeypatch.setattr(builtins, "__import__", refuse_torch)
  out = f"--out={tmp_path}/net.pth"
  message = fail(f"--weights={checkpoint}", "--format=torch", out)
  assert "pip install torch" in message
