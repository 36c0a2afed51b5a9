"""ONNX files against the project's own program, in ONNX Runtime."""

import dataclasses
import json
import sys
import types

import jax
import jax.export
import numpy as np
import pytest

from tests import drawn_network, networks, tiny_network, tiny_vit
from u2pl_jax.models import forward
from u2pl_jax.ops import lean
from u2pl_jax.predict import trained
from u2pl_jax.tools import export, export_onnx, export_program

TOLERANCE = 1e-4  # Of logits, by their deviation, and of probabilities.


def make_images(count, size, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, *size, 3), np.uint8)


def run_onnx(content, images):
  """What ONNX Runtime makes of images, by name."""
  onnxruntime = pytest.importorskip("onnxruntime")
  session = onnxruntime.InferenceSession(
    content, providers=["CPUExecutionProvider"]
  )
  names = [output.name for output in session.get_outputs()]
  return dict(zip(names, session.run(names, {"images": images}), strict=True))


def need_packages():
  for name in ("jax2onnx", "onnxruntime"):
    pytest.importorskip(name, reason="the extra onnx is not installed")


def assert_same_logits(network, size):
  """The program of the logits, for one image and for three."""
  need_packages()
  net = forward.make_net(network.model, network.variables)

  def compute(images):
    return {"logits": net(network.model.normalize(images))}

  content = export_onnx.to_onnx(
    compute, export_program.make_images(network, size)
  )
  expected = jax.jit(compute)
  for count in (1, 3):
    images = make_images(count, size)
    logits = np.asarray(expected(images)["logits"])
    scale = np.std(logits)
    assert scale > 0.01
    found = run_onnx(content, images)["logits"]
    np.testing.assert_allclose(
      found / scale, logits / scale, rtol=0, atol=TOLERANCE
    )


slow = pytest.mark.slow
RESNET = {"encoder": "resnet18", "width": 4}
DEEPLAB = {"channels": 8, "low_level_channels": 4, "rep_channels": 6}
SLIM = {"decoder": "deeplab_slim", "channels": 8, "low_level_channels": 4}
LITE = {"encoder": "efficientnet_lite0"}
NETWORKS = {
  # Even and odd sides, of which the max-pooling makes different numbers.
  "resnet18, deeplab": (RESNET | DEEPLAB, (40, 33)),
  "resnet50, deeplab": (
    RESNET | DEEPLAB | {"encoder": "resnet50"}, (65, 49)
  ),
  "resnet18, deeplab_slim": (
    RESNET
    | SLIM
    | {"stem": "conv7", "pool_ceil": False, "output_stride": 16},
    (48, 33),
  ),
  "efficientnet_lite0, deeplab": (LITE | DEEPLAB, (40, 33)),
  "efficientnet_lite0, deeplab_slim": (
    LITE | SLIM | {"output_stride": 16}, (33, 64)
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutional_networks_make_the_same_logits(name):
  options, size = NETWORKS[name]
  sections = networks.make_sections(**options)
  assert_same_logits(drawn_network.make_trained(sections), size)


@pytest.mark.parametrize("size", [(42, 28), (40, 33)])
def test_a_vision_transformer_makes_the_same_logits(size):
  network = drawn_network.make_trained(tiny_vit.make_sections())
  assert_same_logits(network, size)


def test_the_gates_of_the_largest_encoder_are_converted():
  need_packages()
  shape = (*jax.export.symbolic_shape("batch"), 3, 8)
  content = export_onnx.to_onnx(
    lambda x: {"gated": lean.gate(x)}, jax.ShapeDtypeStruct(shape, np.float32)
  )
  x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
  np.testing.assert_allclose(
    run_onnx(content, x)["gated"], lean.gate(x), atol=1e-6
  )


@slow
@pytest.mark.parametrize(
  "options",
  [
    {"encoder": "resnet34"},
    {"encoder": "resnet50"},
    {"encoder": "resnet101", "decoder": "deeplab_slim"},
    {"encoder": "efficientnet_lite0"},
    {"encoder": "dinov2_vits14", "decoder": "dpt"},
    {"encoder": "dinov2_vits14_reg", "decoder": "dpt"},
  ],
  ids=lambda options: options["encoder"],
)
def test_networks_of_the_published_size_make_the_same_logits(options):
  sections = networks.make_sections(**options)
  assert_same_logits(drawn_network.make_trained(sections), (56, 70))


@pytest.fixture
def checkpoint(tmp_path):
  path = tmp_path / "net.safetensors"
  trained.save_safetensors(tiny_network.make_trained(), path)
  return path


def export_file(checkpoint, *flags):
  out = checkpoint.with_suffix(".onnx")
  arguments = [f"--weights={checkpoint}", "--format=onnx", f"--out={out}"]
  assert export.main([*arguments, *flags]) == 0
  return out


def test_the_command_writes_a_program_and_its_description(checkpoint, capsys):
  need_packages()
  out = export_file(checkpoint, "--size=17,32")
  printed = capsys.readouterr().out
  assert "17x32 pixels" in printed and "probabilities differ by" in printed
  network = trained.load_file(checkpoint)
  predict = jax.jit(export_program.make_predict(network))
  for count in (1, 2):
    images = make_images(count, (17, 32))
    found, expected = run_onnx(out.read_bytes(), images), predict(images)
    assert found["mask"].dtype == np.uint8
    assert found["confidence"].dtype == np.float32
    assert np.mean(found["mask"] == expected["mask"]) > 0.99
    np.testing.assert_allclose(
      found["confidence"], expected["confidence"], atol=TOLERANCE
    )
  about = json.loads(out.with_suffix(".json").read_text())
  assert about["input"]["shape"] == ["batch", 17, 32, 3]
  assert about["outputs"]["mask"]["dtype"] == "uint8"
  assert about["class_names"] == list(tiny_network.NAMES)
  assert {"jax", "jax2onnx", "onnxruntime", "opset"} == set(about["versions"])


def test_bfloat16_becomes_float32():
  need_packages()
  network = tiny_network.make_trained(dtype="bfloat16")
  converted = export_onnx.convert(network, (17, 17))
  assert export_onnx.check(network, (17, 17), converted.content) < TOLERANCE


def test_other_results_are_told():
  need_packages()
  network = tiny_network.make_trained()
  content = export_onnx.convert(network, (17, 17)).content
  other = tiny_network.make_variables(network.options, salt="other")
  changed = trained.Trained(**(vars(network) | {"variables": other}))
  with pytest.raises(ValueError, match="differ from JAX's.*stablehlo"):
    export_onnx.check(changed, (17, 17), content)


def test_what_cannot_be_converted_is_told(monkeypatch):
  need_packages()

  def fail(*_, **__):
    raise NotImplementedError("no plugin for\nan operation")

  monkeypatch.setattr("jax2onnx.to_onnx", fail)
  words = "cannot convert.*no plugin for an operation.*stablehlo"
  with pytest.raises(ValueError, match=words):
    export_onnx.convert(tiny_network.make_trained(), (17, 17))


def test_weights_that_no_file_can_hold_are_told():
  network = tiny_network.make_trained()
  most = jax.ShapeDtypeStruct((2**29,), jax.numpy.bfloat16)
  network = dataclasses.replace(network, variables={"params": most})
  with pytest.raises(ValueError, match="take 2.1 GB in float32.*stablehlo"):
    export_onnx.convert(network, (17, 17))


def test_what_cannot_be_run_is_told():
  need_packages()
  network = tiny_network.make_trained()
  with pytest.raises(ValueError, match="cannot run.*stablehlo") as caught:
    export_onnx.check(network, (17, 17), b"no program")
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["jax2onnx", "onnxruntime"])
def test_a_missing_package_is_told(missing, checkpoint, monkeypatch):
  monkeypatch.setitem(sys.modules, "jax2onnx", types.ModuleType("jax2onnx"))
  monkeypatch.setitem(sys.modules, missing, None)
  out = checkpoint.with_suffix(".onnx")
  with pytest.raises(SystemExit) as caught:
    export.main([f"--weights={checkpoint}", "--format=onnx", f"--out={out}"])
  assert missing in caught.value.code
  assert 'pip install "u2pl_jax[onnx]"' in caught.value.code
  assert not out.exists()
