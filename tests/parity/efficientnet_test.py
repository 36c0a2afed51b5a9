"""EfficientNet-Lite0 with its ImageNet weights gives the recorded outputs.

The weights, a PyTorch file too large for the repository, must lie beside the
recording. They take the way of a user's: converted, then loaded.
"""

import functools
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep import convert_torch_resnet
from tests import networks
from tests.parity import golden
from u2pl_jax.models import pretrained

WEIGHTS = "efficientnet-lite0-57934424.pth"
NUM_BLOCKS = 16
FEATURE_BLOCKS = (2, 4, 10, 15)


def _weights_beside(path):
  weights = path.parent / WEIGHTS
  if not weights.exists():
    weights = golden.find("efficientnet")[0].parent / WEIGHTS
  if not weights.exists():
    pytest.skip(f"{WEIGHTS} does not lie beside {path}")
  pytest.importorskip("torch")
  return weights


@functools.cache
def _load_encoder(weights):
  """A network, and its encoder's variables from a PyTorch file."""
  model = networks.make(encoder="efficientnet_lite0", num_classes=2)
  with tempfile.TemporaryDirectory() as folder:
    converted = f"{folder}/weights.npz"
    convert_torch_resnet.convert(weights, converted)
    loaded = pretrained.load_pretrained(converted, model.variable_shapes())
  return model, {k: v["encoder"] for k, v in loaded.variables.items()}


@golden.once_per_input
def _outputs(weights, images):
  """Features, and the outputs of the stem and of all blocks by name."""
  model, variables = _load_encoder(str(weights))
  with jax.default_matmul_precision("highest"):
    features, captured = jax.jit(
      lambda v, x: model.encoder.apply(
        v, model.normalize(x), train=False, capture_intermediates=True
      )
    )(variables, images)
  inner = captured["intermediates"]
  outputs = {"stem": jnp.clip(inner["stem_bn"]["__call__"][0], 0, 6)}
  for index in range(NUM_BLOCKS):
    outputs[f"block{index:02}"] = inner[f"block{index}"]["__call__"][0]
  return features, outputs


@golden.every_file("efficientnet")
def test_stem_blocks_and_features(path):
  """Spatial means within 1e-4."""
  arrays = golden.load(path)
  features, outputs = _outputs(str(_weights_beside(path)), arrays["images"])
  for name, output in outputs.items():
    batch, channels, height, width = arrays[f"{name}_shape"]
    assert output.shape == (batch, height, width, channels)
    np.testing.assert_allclose(
      output.mean((1, 2)), arrays[f"{name}_mean"], rtol=0, atol=1e-4
    )
  for feature, index in zip(features, FEATURE_BLOCKS, strict=True):
    np.testing.assert_array_equal(feature, outputs[f"block{index:02}"])


def _classify(weights, feature):
  """ImageNet logits from the last feature, by the file's own classifier."""
  import torch

  state = {
    name: value.numpy()
    for name, value in torch.load(weights, weights_only=True).items()
  }
  x = np.asarray(feature) @ state["_conv_head.weight"][:, :, 0, 0].T
  x = (x - state["_bn1.running_mean"]) * state["_bn1.weight"]
  x = x / np.sqrt(state["_bn1.running_var"] + 1e-3) + state["_bn1.bias"]
  pooled = np.clip(x, 0, 6).mean((1, 2))
  return pooled @ state["_fc.weight"].T + state["_fc.bias"]


@golden.every_file("efficientnet")
def test_imagenet_classes(path):
  """Logits within 1e-4; the same class first."""
  arrays = golden.load(path)
  weights = _weights_beside(path)
  features, _ = _outputs(str(weights), arrays["images"])
  logits = _classify(weights, features[-1])
  np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=1e-4)
  np.testing.assert_array_equal(logits.argmax(-1), arrays["top1"])
