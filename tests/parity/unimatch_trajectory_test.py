"""Several optimization steps of UniMatch's training loops, replayed.

Tolerances are those of the recordings' description, which leave ample room:
runs in float32 and float64 differ by less than a millionth.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import golden, unimatch_replay, unimatch_step
from u2pl_jax.training import optim

pytestmark = golden.SLOW

# What a run is replayed from; all else is compared.
_INPUTS = (
  "config_json", "net/", "image_", "label", "ignore", "box", "drop_",
  "untouched",
)  # fmt: skip


def _replayed(path):
  """A recording's arrays and those of our replay."""
  arrays = golden.load(path)
  inputs = {n: a for n, a in arrays.items() if n.startswith(_INPUTS)}
  names = json.dumps(list(inputs))
  return arrays, unimatch_replay.run(names, *inputs.values())


def _assert_close(name, actual, expected, tolerance):
  """Relative L2 distance at each step."""
  actual, expected = (
    np.reshape(x, (len(x), -1)).astype("f8") for x in (actual, expected)
  )
  error = np.linalg.norm(actual - expected, axis=1)
  norm = np.linalg.norm(expected, axis=1)
  error /= np.where(norm == 0, 1, norm)
  assert np.all(error <= tolerance), f"{name}: off by {error}"


@golden.every_file("unimatch_trajectory")
def test_losses(path):
  """Within 2e-5 relative, as those in float64."""
  arrays, ours = _replayed(path)
  names = [name for name in arrays if name.startswith("loss_")]
  assert "loss_total" in names
  for name in names:
    for recorded in (arrays[name], arrays[f"float64/{name}"]):
      np.testing.assert_allclose(ours[name], recorded, rtol=2e-5, err_msg=name)
  for name in ("mask_ratio", "float64/mask_ratio"):
    np.testing.assert_allclose(
      ours["mask_ratio"], arrays[name], rtol=0, atol=1e-3
    )


@golden.every_file("unimatch_trajectory")
def test_rates(path):
  """Learning rates and the teacher's decay within 1e-9, in float64 for that.

  The steps themselves compute them in float32.
  """
  arrays, ours = _replayed(path)
  config = unimatch_step.config_of(arrays)
  options = unimatch_replay.optimizer_of(config)
  rates = optim.learning_rates(
    options,
    learning_rate=options.learning_rate,
    total_steps=config["total_iters"],
  )
  with jax.enable_x64(True):
    steps = jnp.arange(config["steps"], dtype=jnp.int64)
    for group, recorded in zip(
      ("encoder", "head"), arrays["lr"].T, strict=True
    ):
      np.testing.assert_allclose(rates[group](steps), recorded, rtol=1e-9)
  if "ema_decay" in arrays:
    np.testing.assert_allclose(
      ours["ema_decay"], arrays["ema_decay"], rtol=0, atol=1e-7
    )


@golden.every_file("unimatch_trajectory")
def test_targets(path):
  """Two pixels may differ, and confidence by 1e-4."""
  arrays, ours = _replayed(path)
  names = [
    name
    for name in arrays
    if name.startswith(("pseudo_label", "confidence", "target"))
  ]
  assert {"pseudo_label", "confidence", "target1", "target2"} <= set(names)
  for name in names:
    if name.startswith("confidence"):
      np.testing.assert_allclose(
        ours[name], arrays[name], rtol=0, atol=1e-4, err_msg=name
      )
    else:
      differing = np.sum(ours[name] != arrays[name], axis=(1, 2, 3))
      assert differing.max() <= 2, name


@golden.every_file("unimatch_trajectory")
def test_gradients(path):
  """Their norms within 1e-3 relative."""
  arrays, ours = _replayed(path)
  names = [name for name in arrays if name.startswith("grad_l2/")]
  assert len(names) == len(unimatch_step.config_of(arrays)["order"])
  for name in names:
    np.testing.assert_allclose(
      ours[name], arrays[name], rtol=1e-3, err_msg=name
    )


@golden.every_file("unimatch_trajectory")
def test_variables(path):
  """Those of student and teacher within 1e-4 in the relative L2 norm.

  Nothing here counts batches.
  """
  arrays, ours = _replayed(path)
  names = [
    name
    for name in arrays
    if name.startswith(("student_", "teacher_"))
    and not name.endswith("num_batches_tracked")
  ]
  assert set(names) == {
    name for name in ours if name.startswith(("student_", "teacher_"))
  }
  for name in names:
    _assert_close(name, ours[name], arrays[name], 1e-4)
  norms = [n for n in arrays if n.startswith("float64/norm/")]
  assert norms
  for name in norms:
    values = ours[name.removeprefix("float64/norm/")]
    found = np.linalg.norm(values.reshape(len(values), -1).astype("f8"), axis=1)
    np.testing.assert_allclose(found, arrays[name], rtol=1e-4, err_msg=name)
