"""DINOv2 and DPT together, with gradients, equal UniMatch V2's network."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import networks
from tests.parity import golden, vit
from u2pl_jax.losses import pixelwise
from u2pl_jax.models import torch_names, torch_networks
from u2pl_jax.ops import resize

_VALUES = 1e-4  # Largest difference in standard deviations of the array.
SIZES = {"small": "s", "base": "b", "large": "l", "giant": "g"}
_SLOW = ("base", "large", "giant", "518", "comp_drop")


def build(size, num_classes, salt):
  """The network of a recording, and its weights."""
  model = networks.make(
    num_classes=num_classes,
    encoder=f"dinov2_vit{SIZES[size]}14",
    decoder="dpt",
    rep_channels=0,
  )
  prefixes = {"encoder": "backbone.", "decoder": "head."}
  shapes = model.variable_shapes()
  weights = vit.fill({"params": shapes["params"]}, prefixes, salt)
  return model, {"batch_stats": {}} | weights


def as_published(params):
  """Gradients or changes of all parameters by UniMatch V2's names."""
  named = torch_names.to_torch({"params": params})
  return torch_networks.as_published(named)[0]


@golden.once_per_input
def _run(config_json, image, label, mask, has_gradients):
  """Logits, the loss and, where they are recorded, its gradients by name."""
  config = json.loads(str(config_json))
  model, variables = build(config["size"], config["nclass"], config["salt"])
  scales = {}
  if mask.size:
    scales = {"feature_scales": (jnp.asarray(mask),) * 4}

  def compute(params):
    outputs = model.apply(
      {"params": params},
      golden.channels_last(image),
      train=True,
      dropout=False,
      **scales,
    )
    logits = resize.resize_bilinear(outputs["logits"], label.shape[1:])
    loss = pixelwise.cross_entropy(logits, jnp.asarray(label))
    return loss, (outputs["logits"], logits)

  with jax.default_matmul_precision("highest"):
    if not has_gradients:
      loss, outputs = jax.jit(compute)(variables["params"])
      return jax.tree.map(np.asarray, (loss, *outputs, {}))
    (loss, outputs), gradients = jax.jit(
      jax.value_and_grad(compute, has_aux=True)
    )(variables["params"])
  return jax.tree.map(np.asarray, (loss, *outputs, as_published(gradients)))


def _load(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  image = vit.make_image(*config["images"]["image"], config["salt"])
  mask = arrays.get("dropout_mask", np.zeros(0, np.float32))
  label = arrays["label"].astype(np.int32)
  run = _run(arrays["config_json"], image, label, mask, "param_names" in arrays)
  return arrays, config, *run


every_file = golden.every_file_but("dpt_model", _SLOW)


@every_file
def test_logits_and_loss(path):
  arrays, _, loss, low, logits, _ = _load(path)
  found = {"logits_low": low, "logits": logits}
  for name, actual in found.items():
    actual, expected = np.moveaxis(actual, -1, 1), arrays[name]
    if actual.shape[1] != expected.shape[1]:
      actual = actual[:, ::3]
    if actual.shape != expected.shape:
      actual = actual[:, :, ::3, ::3]
    assert golden.relative_error(actual, expected) < _VALUES, name
  np.testing.assert_allclose(loss, arrays["loss"], rtol=1e-5)
  np.testing.assert_allclose(loss, arrays["float64/loss"], rtol=1e-5)


@every_file
def test_classes(path):
  """Wherever the margin exceeds a thousandth of the deviation."""
  arrays, _, _, _, logits, _ = _load(path)
  differs = np.argmax(logits, -1) != arrays["argmax"]
  second, first = np.moveaxis(np.sort(logits, -1)[..., -2:], -1, 0)
  assert not np.any(differs & (first - second > 1e-3 * logits.std()))


@every_file
def test_masks_of_complementary_dropout(path):
  """Each channel lives doubled in one view; half of the images keep all."""
  arrays = golden.load(path)
  if "dropout_mask" not in arrays:
    pytest.skip("nothing is dropped in it")
  first = 2.0 * arrays["bernoulli"]
  first[arrays["permutation"][: len(first) // 2]] = 1
  expected = np.concatenate([first, 2 - first])
  np.testing.assert_array_equal(arrays["dropout_mask"], expected)


@every_file
def test_norms_of_all_gradients(path):
  arrays, config, _, _, _, gradients = _load(path)
  if not gradients:
    pytest.skip("no gradients were recorded")
  names = arrays["param_names"].tolist()
  assert set(names) == gradients.keys() - set(config["no_gradient"])
  for name in config["no_gradient"]:
    np.testing.assert_array_equal(gradients[name], 0)
  norms = [np.linalg.norm(gradients[name]) for name in names]
  for recorded in ("grad_l2", "float64_grad_l2"):
    np.testing.assert_allclose(norms, arrays[recorded], rtol=1e-3)


@every_file
def test_gradients(path):
  """Within 5e-3 in the relative L2 norm: ReLUs of the head flip."""
  arrays, config, _, _, _, gradients = _load(path)
  if not gradients:
    pytest.skip("no gradients were recorded")
  last = max(
    int(name.split(".")[2])
    for name in gradients
    if name.startswith("backbone.blocks.")
  )
  slices = {
    name.replace("LAST", str(last)): text
    for name, text in config["grad_sample_slices"].items()
  }
  seen = 0
  for key, expected in arrays.items():
    kind, _, name = key.partition("/")
    if kind not in ("grad", "grad_sample"):
      continue
    seen += 1
    actual = gradients[name]
    if kind == "grad_sample":
      axes = [part.split(":") for part in slices[name].split(",")]
      actual = actual[
        tuple(slice(*(int(n) if n else None for n in axis)) for axis in axes)
      ]
    difference = np.linalg.norm(actual - expected)
    assert difference < 5e-3 * np.linalg.norm(expected), key
  assert seen
