"""The network of UniMatch V1 equals the published one, in both modes."""

import json

import jax
import numpy as np
import pytest

from tests.parity import golden, unimatch_model
from u2pl_jax.losses import pixelwise
from u2pl_jax.ops import resize

pytestmark = golden.SLOW


def _model(config):
  stride = config["replace_stride_with_dilation"]
  assert stride == [False, False, True]
  model = unimatch_model.build(
    config["depth"], config["K"], tuple(config["dilations"])
  )
  return model, unimatch_model.make_variables(model, config["salt"])


def _images(config, image_q):
  return golden.channels_last(image_q.astype("f4")) / config["image_scale"]


@golden.once_per_input
def _run_eval(config_json, image_q):
  """Logits at full size, and the features of all stages."""
  config = json.loads(str(config_json))
  model, variables = _model(config)
  images = _images(config, image_q)

  def run(variables, images):
    outputs = model.apply(variables, images, train=False, dropout=False)
    features = model.apply(variables, images, train=False, method="encode")
    return resize.resize_bilinear(
      outputs["logits"], images.shape[1:3]
    ), features

  with jax.default_matmul_precision("highest"):
    return jax.device_get(jax.jit(run)(variables, images))


def _load_eval(path):
  arrays = golden.load(path)
  return arrays, *_run_eval(arrays["config_json"], arrays["image_q"])


@golden.every_file("unimatch_model")
def test_outputs_in_eval_mode(path):
  """Within 1e-4, classes where the best two differ by more than 1e-3."""
  arrays, logits, _ = _load_eval(path)
  every_second = np.moveaxis(logits, -1, 1)[:, :, ::2, ::2]
  np.testing.assert_allclose(
    every_second, arrays["eval/logits_every2"], rtol=0, atol=1e-4
  )
  second, first = np.sort(logits, axis=-1)[..., -2:].transpose(3, 0, 1, 2)
  agrees = np.argmax(logits, -1) == arrays["eval/argmax"]
  assert np.all(agrees | (first - second <= 1e-3))


@golden.every_file("unimatch_model")
def test_features_in_eval_mode(path):
  arrays, _, features = _load_eval(path)
  assert len(features) == 4
  for stage, feature in enumerate(features, start=1):
    feature = np.moveaxis(feature, -1, 1)
    prefix = f"eval/feat{stage}"
    np.testing.assert_array_equal(feature.shape, arrays[f"{prefix}_shape"])
    for name in ("mean", "std"):
      np.testing.assert_allclose(
        getattr(feature, name)(), arrays[f"{prefix}_{name}"], rtol=0, atol=1e-4
      )


def test_parameters_are_counted_as_published():
  paths = golden.find("unimatch_model")
  if not paths:
    pytest.skip("no recording")
  for path in paths:
    config = json.loads(str(golden.load(path)["config_json"]))
    shapes = unimatch_model.build(
      config["depth"], config["K"]
    ).variable_shapes()
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == config["params"]


def _scales(config, drop_c1, drop_c4):
  """Of the four features; the decoder reads the first and the last."""
  count = config["images"]
  first, last = (
    2.0
    * np.unpackbits(bits)[: count * width].reshape(count, width).astype("f4")
    for bits, width in ((drop_c1, 256), (drop_c4, 2048))
  )
  return first, None, None, last


@golden.once_per_input
def _run_train(config_json, image_q, label, drop_c1, drop_c4):
  """Outputs, losses, gradients and statistics of one pass in train mode."""
  config = json.loads(str(config_json))
  model, variables = _model(config)
  images = _images(config, image_q)
  scales = _scales(config, drop_c1, drop_c4)
  labels = label.astype(np.int32)

  def compute(params):
    outputs, updates = model.apply(
      variables | {"params": params},
      images,
      train=True,
      dropout=False,
      perturbed_scales=scales,
      mutable=["batch_stats"],
    )
    clean, perturbed = (
      resize.resize_bilinear(outputs[name], images.shape[1:3])
      for name in ("logits", "perturbed")
    )
    losses = {
      "loss_first": pixelwise.cross_entropy(clean[:1], labels[:1]),
      "loss_fp_rest": pixelwise.cross_entropy(perturbed[1:], labels[1:]),
    }
    found = {"logits_every2": clean, "logits_fp_every2": perturbed}
    return sum(losses.values()), (found, losses, updates["batch_stats"])

  with jax.default_matmul_precision("highest"):
    (_, (outputs, losses, statistics)), gradients = jax.jit(
      jax.value_and_grad(compute, has_aux=True)
    )(variables["params"])
  entries = unimatch_model.to_file(
    jax.device_get({"params": gradients, "batch_stats": statistics})
  )
  return jax.device_get((outputs, losses)), entries


def _load_train(path):
  arrays = golden.load(path)
  names = ("config_json", "image_q", "label", "drop_c1", "drop_c4")
  (outputs, losses), entries = _run_train(*(arrays[name] for name in names))
  return arrays, outputs, losses, entries


@golden.every_file("unimatch_model")
def test_outputs_and_losses_in_train_mode(path):
  """Outputs within 5e-4 absolute, losses within 1e-5 relative."""
  arrays, outputs, losses, _ = _load_train(path)
  for name, logits in outputs.items():
    np.testing.assert_allclose(
      np.moveaxis(logits, -1, 1)[:, :, ::2, ::2],
      arrays[f"train/{name}"],
      rtol=0,
      atol=5e-4,
    )
  for name, loss in losses.items():
    for recorded in (f"train/{name}", f"train/float64/{name}"):
      np.testing.assert_allclose(loss, arrays[recorded], rtol=1e-5)


@golden.every_file("unimatch_model")
def test_running_statistics(path):
  """Within 1e-4."""
  arrays, _, _, entries = _load_train(path)
  for short, long in (("rm", "running_mean"), ("rv", "running_var")):
    names = [n for n in arrays if n.startswith(f"train/{short}/")]
    assert names
    for name in names:
      layer = name.removeprefix(f"train/{short}/")
      np.testing.assert_allclose(
        entries[f"{layer}.{long}"], arrays[name], rtol=0, atol=1e-4
      )


@golden.every_file("unimatch_model")
def test_gradients(path):
  """Norms within 2e-2 of those in float64, half of them within 2e-3."""
  arrays, _, _, entries = _load_train(path)
  names = arrays["train/param_names"].tolist()
  buffers = ("running_mean", "running_var", "num_batches_tracked")
  assert set(names) == {n for n in entries if not n.endswith(buffers)}
  norms = np.array([np.linalg.norm(entries[name]) for name in names])
  expected = arrays["train/float64/grad_l2"]
  np.testing.assert_allclose(norms, expected, rtol=2e-2)
  assert np.median(np.abs(norms / expected - 1)) < 2e-3
  np.testing.assert_allclose(norms, arrays["train/grad_l2"], rtol=2.5e-2)
  whole = [name for name in arrays if name.startswith("train/grad/")]
  assert whole
  for name in whole:
    expected = arrays[name]
    difference = entries[name.removeprefix("train/grad/")] - expected
    error = np.linalg.norm(difference) / np.linalg.norm(expected)
    assert error < 2e-2, name
