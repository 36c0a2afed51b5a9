"""The network with running statistics equals the published one."""

import json

import jax
import numpy as np

from tests.parity import golden, network

_HEADS = {"aux": "aux_head", "rep_every8": "rep_head", "rep_norm": "rep_head"}

# Of all arrays, absolute, in float32 with the highest matmul precision.
_TOLERANCE = dict(rtol=0, atol=1e-4)


@golden.once_per_input
def _run(config_json, image):
  """Outputs as the recordings name them, and features of layers 1 to 4."""
  model, variables = network.build(json.loads(str(config_json)))

  def apply(variables, image):
    return model.apply(
      variables,
      image,
      train=False,
      dropout=False,
      capture_intermediates=lambda module, _: module.name == "encoder",
    )

  with jax.default_matmul_precision("highest"):
    outputs, captured = jax.jit(apply)(variables, golden.channels_last(image))
  features = captured["intermediates"]["encoder"]["__call__"][0]
  found = {"pred": outputs["logits"]}
  if "aux" in outputs:
    found["aux"] = outputs["aux"]
  if "rep" in outputs:
    found["rep_every8"] = outputs["rep"][..., ::8]
    found["rep_norm"] = np.linalg.norm(outputs["rep"], axis=-1)
  return jax.tree.map(np.asarray, (found, features))


@golden.every_file("model_eval")
def test_outputs(path):
  arrays = golden.load(path)
  outputs, _ = _run(arrays["config_json"], arrays["image"])
  config = json.loads(str(arrays["config_json"]))
  left_out = {name for name, head in _HEADS.items() if not config[head]}
  assert set(outputs) == {"pred", *_HEADS} - left_out
  assert set(outputs) == {"pred", *_HEADS} & set(arrays)
  for name, actual in outputs.items():
    expected = arrays[name]
    if name != "rep_norm":
      expected = golden.channels_last(expected)
    np.testing.assert_allclose(actual, expected, **_TOLERANCE)


@golden.every_file("model_eval")
def test_predicted_classes(path):
  arrays = golden.load(path)
  outputs, _ = _run(arrays["config_json"], arrays["image"])
  agrees = np.argmax(outputs["pred"], -1) == arrays["pred_argmax"]
  second, first = np.sort(arrays["pred"], axis=1)[:, -2:].swapaxes(0, 1)
  np.testing.assert_array_equal(agrees | (first - second <= 1e-3), True)


@golden.every_file("model_eval")
def test_features_of_all_layers(path):
  arrays = golden.load(path)
  _, features = _run(arrays["config_json"], arrays["image"])
  assert len(features) == 4
  for layer, feature in enumerate(features, start=1):
    feature = np.moveaxis(feature, -1, 1)
    np.testing.assert_array_equal(feature.shape, arrays[f"feat{layer}_shape"])
    channels = feature.shape[1]
    found = {
      "sample": feature[:, :: channels // 16, ::3, ::3],
      "mean": feature.mean(),
      "std": feature.std(),
    }
    for name, actual in found.items():
      expected = arrays[f"feat{layer}_{name}"]
      np.testing.assert_allclose(actual, expected, **_TOLERANCE)
