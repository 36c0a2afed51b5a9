"""Cross entropy and OHEM, with and without the auxiliary prediction."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden
from u2pl_jax.losses import pixelwise

_AUX_WEIGHT = 0.4


@golden.once_per_input
def _run(kind, threshold, min_kept, pred, target):
  """Loss of one prediction and its gradient, [B, H, W, K]."""
  options = pixelwise.LossOptions(
    kind=str(kind),
    ohem_threshold=float(threshold),
    ohem_min_kept=int(min_kept),
  )
  loss = pixelwise.make_supervised_loss(options)
  value_and_grad = jax.jit(
    jax.value_and_grad(lambda pred, target: loss({"logits": pred}, target))
  )
  outputs = value_and_grad(golden.channels_last(pred), jnp.asarray(target))
  return jax.tree.map(np.asarray, outputs)


def _cases(path):
  """(settings, their recorded results, loss and gradients by prediction)."""
  arrays = golden.load(path)
  cases = json.loads(str(arrays["cases_json"]))
  assert cases
  for case in cases:
    assert not case.get("use_weight"), "classes have no weights here"
    prefix = f"{case['tag']}/"
    recorded = {
      name.removeprefix(prefix): array
      for name, array in arrays.items()
      if name.startswith(prefix)
    }
    options = ("ce", 0.0, 0)  # Cross entropy has no use for the numbers.
    if case["type"] == "ohem":
      options = ("ohem", case["thresh"], case["min_kept"])
    names = ("pred", "aux") if case["aux"] else ("pred",)
    yield (
      case,
      recorded,
      {n: _run(*options, arrays[n], arrays["target"]) for n in names},
    )


@golden.every_file("criterion")
def test_losses(path):
  """Within 1e-5 relative."""
  for case, recorded, found in _cases(path):
    total = found["pred"][0]
    if case["aux"]:
      total = total + _AUX_WEIGHT * found["aux"][0]
    np.testing.assert_allclose(
      total, recorded["loss"], rtol=1e-5, err_msg=case["tag"]
    )


@golden.every_file("criterion")
def test_gradients(path):
  """Norms within 1e-4 relative; no tolerance is given for them."""
  for case, recorded, found in _cases(path):
    assert ("grad_aux_l2" in recorded) == case["aux"]
    for name, (_, gradient) in found.items():
      weight = _AUX_WEIGHT if name == "aux" else 1
      np.testing.assert_allclose(
        weight * np.linalg.norm(gradient),
        recorded[f"grad_{name}_l2"],
        rtol=1e-4,
        err_msg=case["tag"],
      )


@golden.every_file("criterion")
def test_pixels_that_have_a_gradient(path):
  """Counts exact; a threshold within 1e-5 lies between kept and dropped."""
  arrays = golden.load(path)
  target = arrays["target"]
  valid = target != 255
  probs = jax.nn.softmax(golden.channels_last(arrays["pred"]))
  index = np.where(valid, target, 0)[..., None]
  true_probs = np.take_along_axis(np.asarray(probs), index, -1)[..., 0]
  for case, recorded, found in _cases(path):
    kept = np.any(found["pred"][1] != 0, axis=-1)
    assert kept.sum() == recorded["grad_pred_nonzero_pixels"], case["tag"]
    if case["type"] != "ohem":
      np.testing.assert_array_equal(kept, valid)
      continue
    assert kept.sum() == recorded["ohem_kept_pred"] == case["kept"]
    assert valid.sum() == case["valid"]
    threshold = float(recorded["ohem_threshold_pred"])
    assert threshold == case["threshold_used"]
    if case["min_kept"] == 0 or case["min_kept"] > case["valid"]:
      np.testing.assert_array_equal(kept, valid)
      continue
    np.testing.assert_array_less(true_probs[kept], threshold + 1e-5)
    np.testing.assert_array_less(threshold - 1e-5, true_probs[valid & ~kept])
