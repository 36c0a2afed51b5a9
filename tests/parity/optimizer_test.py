"""SGD with the published learning rates moves parameters as published."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from tests.parity import golden
from u2pl_jax.training import optim

_POWER = 0.9
_TOLERANCE = dict(rtol=1e-6, atol=1e-6)


def _tree(arrays, prefix):
  """Nested dictionaries of the arrays PREFIX/encoder.conv.weight and so on."""
  names = arrays["names"].tolist()
  flat = {tuple(n.split(".")): arrays[f"{prefix}/{n}"] for n in names}
  return traverse_util.unflatten_dict(flat)


def _run(path):
  """Recorded arrays, and the parameters after each step."""
  arrays = golden.load(path)
  options = optim.OptimOptions(
    factors={"encoder": 1.0, "head": float(arrays["head_factor"])},
    power=_POWER,
    momentum=float(arrays["momentum"]),
    weight_decay=float(arrays["weight_decay"]),
  )
  tx = optim.create_optimizer(
    options,
    learning_rate=float(arrays["base_lr"]),
    total_steps=int(arrays["max_iter"]),
  )

  @jax.jit
  def update(gradients, opt_state, params):
    updates, opt_state = tx.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  params = jax.tree.map(jnp.asarray, _tree(arrays, "init"))
  opt_state = tx.init(params)
  after = []
  for step in range(len(arrays["lr"])):
    gradients = _tree(arrays, f"step{step}/grad")
    params, opt_state = update(gradients, opt_state, params)
    after.append(params)
  return arrays, after


@golden.every_file("optimizer")
def test_parameters(path):
  """Within 1e-6; of the steps whose parameters are recorded."""
  arrays, after = _run(path)
  recorded = [
    step
    for step in range(len(after))
    if any(name.startswith(f"step{step}/value/") for name in arrays)
  ]
  assert recorded
  for step in recorded:
    jax.tree.map(
      lambda actual, expected: np.testing.assert_allclose(
        actual, expected, **_TOLERANCE
      ),
      after[step],
      _tree(arrays, f"step{step}/value"),
    )


@golden.every_file("optimizer")
def test_learning_rates(path):
  """Within 1e-6; of the encoder, then of everything else."""
  arrays = golden.load(path)
  factors = 1.0, float(arrays["head_factor"])
  steps = np.arange(len(arrays["lr"]))
  for rates, factor in zip(arrays["lr"].T, factors, strict=True):
    schedule = optim.poly_schedule(
      float(arrays["base_lr"]) * factor, int(arrays["max_iter"]), _POWER
    )
    np.testing.assert_allclose(schedule(steps), rates, **_TOLERANCE)
