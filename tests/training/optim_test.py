import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from u2pl_jax.training import optim

SETTINGS = dict(
  learning_rate=0.01,
  head_factor=10.0,
  power=0.9,
  momentum=0.9,
  weight_decay=0.1,
  total_steps=10,
)


def test_poly_schedule_starts_full_and_ends_at_zero():
  schedule = optim.poly_schedule(0.02, 100, 0.9)
  assert float(schedule(0)) == pytest.approx(0.02)
  assert float(schedule(25)) == pytest.approx(0.02 * 0.75**0.9)
  assert float(schedule(100)) == 0


def test_sgd_equals_torch_rules_written_out():
  rng = np.random.default_rng(0)
  groups = ("encoder", "decoder", "auxor")
  start = {name: rng.normal(size=3) for name in groups}
  grads = [{name: rng.normal(size=3) for name in groups} for _ in range(4)]

  expected, velocity = dict(start), {}
  for step, grad in enumerate(grads):
    rate = 0.01 * (1 - step / 10) ** 0.9
    for name in groups:
      decayed = grad[name] + 0.1 * expected[name]
      velocity[name] = 0.9 * velocity.get(name, 0) + decayed
      factor = 1 if name == "encoder" else 10
      expected[name] = expected[name] - rate * factor * velocity[name]

  tx = optim.create_optimizer(**SETTINGS)

  @jax.jit
  def update(grad, opt_state, params):
    updates, opt_state = tx.update(grad, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  params = {n: {"kernel": jnp.float32(v)} for n, v in start.items()}
  opt_state = tx.init(params)
  for grad in grads:
    grad = {n: {"kernel": jnp.float32(v)} for n, v in grad.items()}
    params, opt_state = update(grad, opt_state, params)
  for name in groups:
    np.testing.assert_allclose(
      params[name]["kernel"], expected[name], rtol=1e-5
    )
