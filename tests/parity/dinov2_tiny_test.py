"""Small variants of the encoder, with the gradients of all parameters."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import dinov2_test, golden, vit
from u2pl_jax.models import torch_names
from u2pl_jax.models.vit import blocks

_VALUES = 1e-4  # Largest difference in standard deviations of the array.
_GRADIENTS = 1e-3


@golden.once_per_input
def _run(config_json, variant, image, cotangent):
  """Values as recorded, loss, and gradients by PyTorch's names."""
  config = json.loads(str(config_json))
  about = config["variants"][str(variant)]
  model = vit.make_encoder(about["kwargs"])
  weights = dinov2_test.variables(model, config["salt"])
  first = 1 + model.num_registers

  def forward(weights, image):
    image = golden.channels_last(image)
    tokens = model.apply(weights, image, method="embed")
    outputs = model.apply(weights, tokens, train=False, method="run_blocks")
    last = model.apply(weights, outputs[-1], method=lambda m, x: m.norm(x))
    found = {"tokens_in": tokens, "x_prenorm": outputs[-1], "cls": last[:, 0]}
    found["patch"] = last[:, first:]
    if model.num_registers:
      found["reg"] = last[:, 1:first]
    for index, output in enumerate(outputs):
      found[f"block{index:02}"] = output[:, ::5, ::16]
    loss = jnp.mean(jnp.square(last[:, 0]))
    if cotangent.size:
      loss += jnp.mean(last[:, first:] * cotangent)
    return loss, found

  with jax.default_matmul_precision("highest"):
    if not cotangent.size:  # Compiles in half of the time.
      loss, found = jax.jit(forward)(weights, image)
      return jax.tree.map(np.asarray, (found, loss, {}))
    (loss, found), gradients = jax.jit(
      jax.value_and_grad(forward, (0, 1), has_aux=True)
    )(weights, image)
  params = {"params": {"encoder": gradients[0]["params"]}}
  named = torch_names.to_torch(params)
  named = {n.removeprefix("encoder."): value for n, value in named.items()}
  named["image"] = gradients[1]
  return jax.tree.map(np.asarray, (found, loss, named))


def _cases(arrays):
  config_json = arrays["config_json"]
  for variant, about in json.loads(str(config_json))["variants"].items():
    for height, width in about["sizes"]:
      size = f"{height}x{width}"
      cotangent = arrays.get(f"cotangent/{size}", np.zeros(0, np.float32))
      image = arrays[f"image/{size}"]
      run = _run(config_json, variant, image, cotangent)
      yield f"{variant}/{size}/", *run, cotangent.size > 0


@golden.every_file("dinov2_tiny")
def test_values(path):
  arrays = golden.load(path)
  for prefix, found, _, _, _ in _cases(arrays):
    for name, actual in found.items():
      error = golden.relative_error(actual, arrays[prefix + name])
      assert error < _VALUES, prefix + name


def _is_noise(name):
  """Keys' share of the bias: a softmax takes away what is alike for all."""
  return name.endswith("attn.qkv.bias")


@golden.every_file("dinov2_tiny")
def test_gradients(path):
  arrays = golden.load(path)
  seen = 0
  for prefix, _, loss, gradients, has_gradients in _cases(arrays):
    if not has_gradients:
      continue
    np.testing.assert_allclose(loss, arrays[f"{prefix}loss"], rtol=1e-5)
    np.testing.assert_allclose(loss, arrays[f"float64/{prefix}loss"], rtol=1e-5)
    recorded = [n for n in arrays if n.startswith(f"{prefix}grad/")]
    taken = {n.removeprefix(f"{prefix}grad/") for n in recorded}
    assert taken - {"image"} <= gradients.keys()
    for name in taken:
      seen += 1
      expected, actual = arrays[f"{prefix}grad/{name}"], gradients[name]
      if not expected.std():
        np.testing.assert_array_equal(actual, expected)
        continue
      if _is_noise(name):
        thirds = np.split(actual, 3), np.split(expected, 3)
        np.testing.assert_array_less(np.abs(thirds[0][1]), 1e-6)
        actual, expected = (np.concatenate(t[::2]) for t in thirds)
      error = golden.relative_error(actual, expected)
      assert error < _GRADIENTS, prefix + name
  assert seen


@golden.every_file("dinov2_tiny")
def test_norms_of_gradients(path):
  arrays = golden.load(path)
  for prefix, _, _, gradients, has_gradients in _cases(arrays):
    start = f"float64/{prefix}grad_l2/"
    names = [n for n in arrays if n.startswith(start)]
    assert bool(names) == has_gradients
    for name in names:
      norm = np.linalg.norm(gradients[name.removeprefix(start)])
      np.testing.assert_allclose(
        norm, arrays[name], rtol=1e-3, atol=1e-9, err_msg=name
      )


@golden.every_file("dinov2_tiny")
def test_norms_of_small_values(path):
  """Where epsilon is as large as the variance."""
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  variant = config["variants"]["mlp"]
  model = vit.make_encoder(variant["kwargs"])
  params = dinov2_test.variables(model, config["salt"])["params"]
  places = {
    "norm": params["norm"],
    "blocks.0.norm1": params["blocks_0"]["norm1"],
  }
  for name, weights in places.items():
    expected = arrays[f"norm_probe/{name}"]
    found = blocks.LayerNorm(jnp.float32).apply(
      {"params": weights}, arrays["norm_probe/input"]
    )
    assert golden.relative_error(found, expected) < _VALUES, name
