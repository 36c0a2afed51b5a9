"""One forward and backward pass in train mode equals the published code's."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden, network
from u2pl_jax.losses import pixelwise
from u2pl_jax.models import torch_names
from u2pl_jax.ops import resize

_HEADS = {"aux": "aux_head", "rep_every8": "rep_head"}
_WEIGHTS = {"loss_ce_pred": 1.0, "loss_ce_aux": 0.4, "rep_mean_sq": 0.1}
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def _losses(outputs, label):
  """The terms of the recorded loss; those of missing heads are missing."""

  def cross_entropy(logits):
    logits = resize.resize_bilinear(logits, label.shape[1:])
    return pixelwise.cross_entropy(logits, label)

  losses = {"loss_ce_pred": cross_entropy(outputs["logits"])}
  if "aux" in outputs:
    losses["loss_ce_aux"] = cross_entropy(outputs["aux"])
  if "rep" in outputs:
    losses["rep_mean_sq"] = jnp.mean(jnp.square(outputs["rep"]))
  total = sum(_WEIGHTS[name] * loss for name, loss in losses.items())
  return losses | {"loss_total": total}


@golden.once_per_input
def _run(config_json, image, label):
  """Outputs as recorded, losses, and gradients and statistics by name."""
  model, variables = network.build(json.loads(str(config_json)))

  def loss_fn(params, batch_stats):
    outputs, updates = model.apply(
      {"params": params, "batch_stats": batch_stats},
      golden.channels_last(image),
      train=True,
      dropout=False,
      mutable=["batch_stats"],
    )
    losses = _losses(outputs, jnp.asarray(label))
    return losses["loss_total"], (outputs, losses, updates["batch_stats"])

  with jax.default_matmul_precision("highest"):
    (_, (outputs, losses, stats)), gradients = jax.jit(
      jax.value_and_grad(loss_fn, has_aux=True)
    )(variables["params"], variables["batch_stats"])
  outputs["pred"] = outputs.pop("logits")
  if "rep" in outputs:
    outputs["rep_every8"] = outputs.pop("rep")[..., ::8]
  entries = torch_names.to_torch({"params": gradients, "batch_stats": stats})
  return jax.tree.map(np.asarray, (outputs, losses, entries))


def _load(path):
  arrays = golden.load(path)
  run = _run(*(arrays[name] for name in ("config_json", "image", "label")))
  return arrays, *run


@golden.every_file("model_train")
def test_outputs(path):
  """Within 5e-4 absolute."""
  arrays, outputs, _, _ = _load(path)
  config = json.loads(str(arrays["config_json"]))
  left_out = {name for name, head in _HEADS.items() if not config[head]}
  assert set(outputs) == {"pred", *_HEADS} - left_out
  assert set(outputs) == {"pred", *_HEADS} & set(arrays)
  for name, actual in outputs.items():
    expected = golden.channels_last(arrays[name])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-4)


@golden.every_file("model_train")
def test_losses(path):
  """Within 1e-5 relative; a term whose head is missing may be left out."""
  arrays, _, losses, _ = _load(path)
  assert losses.keys() <= arrays.keys()
  for name in {*_WEIGHTS, "loss_total"} & arrays.keys():
    loss = losses.get(name, 0.0)
    np.testing.assert_allclose(loss, arrays[name], rtol=1e-5, err_msg=name)


@golden.every_file("model_train")
def test_running_statistics(path):
  """Within 1e-5 absolute. Nothing here counts updates, as PyTorch does."""
  arrays, _, _, entries = _load(path)
  assert arrays["bn_names"].size
  for layer in arrays["bn_names"]:
    for short, name in (("rm", "running_mean"), ("rv", "running_var")):
      np.testing.assert_allclose(
        entries[f"{layer}.{name}"],
        arrays[f"{short}/{layer}"],
        rtol=0,
        atol=1e-5,
      )


@golden.every_file("model_train")
def test_norms_of_all_gradients(path):
  """Within 2e-2 relative of the float64 run, half of them within 2e-3."""
  arrays, _, _, entries = _load(path)
  names = arrays["param_names"].tolist()
  assert set(names) == {n for n in entries if not n.endswith(_BUFFERS)}
  norms = np.array([np.linalg.norm(entries[name]) for name in names])
  # Rounding noise of biases that batch normalization takes away again.
  is_zero = arrays["grad_is_zero_by_construction"]
  np.testing.assert_array_less(norms[is_zero], 1e-6)
  norms = norms[~is_zero]
  expected = arrays["grad_l2_float64"][~is_zero]
  np.testing.assert_allclose(norms, expected, rtol=2e-2)
  assert np.median(np.abs(norms / expected - 1)) < 2e-3
  # The float32 run differs from the other one by up to 4e-3.
  expected = arrays["grad_l2"][~is_zero]
  np.testing.assert_allclose(norms, expected, rtol=2.5e-2)


@golden.every_file("model_train")
def test_whole_gradients(path):
  """Of a few parameters, within 2e-2 in the relative L2 norm."""
  arrays, _, _, entries = _load(path)
  names = [n for n in arrays if n.startswith(("grad/", "grad64/"))]
  assert names
  for name in names:
    expected = arrays[name]
    difference = entries[name.partition("/")[2]] - expected
    error = np.linalg.norm(difference) / np.linalg.norm(expected)
    np.testing.assert_array_less(error, 2e-2, err_msg=name)
