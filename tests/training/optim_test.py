import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import config_dict

from u2pl_jax.training import optim

GROUPS = {"encoder": 1.0, "head": 10.0}
RATES = dict(learning_rate=0.01, total_steps=10)


def make(kind="sgd", factors=None, **changes):
  changes = {"weight_decay": 0.1, "epsilon": 1e-3} | changes
  options = optim.OptimOptions(
    kind=kind, factors=factors or GROUPS, power=0.9, **changes
  )
  return optim.create_optimizer(options, **RATES)


def make_params(rng):
  return {
    "encoder": {"layer1": {"kernel": rng.normal(size=3)}},
    "encoder2": {"bias": rng.normal(size=2)},
    "decoder": {"output": {"kernel": rng.normal(size=(2, 3))}},
  }


def train(tx, params, gradients):
  """Parameters after these gradients, one after the other."""

  @jax.jit
  def update(gradient, opt_state, params):
    updates, opt_state = tx.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  params = jax.tree.map(jnp.float32, params)
  opt_state = tx.init(params)
  for gradient in gradients:
    gradient = jax.tree.map(jnp.float32, gradient)
    params, opt_state = update(gradient, opt_state, params)
  return params


def start_and_gradients(count):
  rng = np.random.default_rng(0)
  return make_params(rng), [make_params(rng) for _ in range(count)]


def test_poly_schedule_starts_full_and_ends_at_zero():
  schedule = optim.poly_schedule(0.02, 100, 0.9)
  assert float(schedule(0)) == pytest.approx(0.02)
  assert float(schedule(25)) == pytest.approx(0.02 * 0.75**0.9)
  assert float(schedule(100)) == 0


def sgd(parameter, gradients, factor):
  """torch.optim.SGD with momentum 0.9 and decay 0.1, written out."""
  velocity = 0
  for step, gradient in enumerate(gradients):
    rate = factor * 0.01 * (1 - step / 10) ** 0.9
    velocity = 0.9 * velocity + gradient + 0.1 * parameter
    parameter = parameter - rate * velocity
  return parameter


def nesterov(parameter, gradients, factor):
  """The same with nesterov=True."""
  velocity = 0
  for step, gradient in enumerate(gradients):
    rate = factor * 0.01 * (1 - step / 10) ** 0.9
    gradient = gradient + 0.1 * parameter
    velocity = 0.9 * velocity + gradient
    parameter = parameter - rate * (gradient + 0.9 * velocity)
  return parameter


def adamw(parameter, gradients, factor):
  """torch.optim.AdamW with decay 0.1, written out."""
  mean = square = 0
  for step, gradient in enumerate(gradients):
    rate = factor * 0.01 * (1 - step / 10) ** 0.9
    parameter = parameter * (1 - rate * 0.1)
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    unbiased = mean / (1 - 0.9 ** (step + 1))
    deviation = np.sqrt(square / (1 - 0.999 ** (step + 1)))
    parameter = parameter - rate * unbiased / (deviation + 1e-3)
  return parameter


@pytest.mark.parametrize(
  "rule, settings",
  [
    (sgd, {"kind": "sgd"}),
    (nesterov, {"kind": "sgd", "nesterov": True}),
    (adamw, {"kind": "adamw"}),
  ],
)
def test_updates_equal_torch_rules_written_out(rule, settings):
  start, gradients = start_and_gradients(4)
  actual = train(make(**settings), start, gradients)
  expected = {
    name: jax.tree.map(
      lambda *leaves, factor=1 if name == "encoder" else 10: rule(
        leaves[0], leaves[1:], factor
      ),
      start[name],
      *(gradient[name] for gradient in gradients),
    )
    for name in start
  }
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-7),
    actual,
    expected,
  )


def test_sgd_has_the_state_and_the_bits_of_version_0_1():
  def chain(rate):
    return optax.chain(
      optax.add_decayed_weights(0.1),
      optax.sgd(optim.poly_schedule(rate, 10, 0.9), momentum=0.9),
    )

  def group(params):
    return {
      name: jax.tree.map(
        lambda _, group="encoder" if name == "encoder" else "head": group, tree
      )
      for name, tree in params.items()
    }

  before = optax.partition({"encoder": chain(0.01), "head": chain(0.1)}, group)
  start, gradients = start_and_gradients(3)
  assert jax.tree.structure(make().init(start)) == jax.tree.structure(
    before.init(start)
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    train(make(), start, gradients),
    train(before, start, gradients),
  )


def test_the_longest_group_counts_and_zero_freezes():
  factors = GROUPS | {"encoder/layer1": 0.0, "decoder/output/kernel": 2.0}
  params, _ = start_and_gradients(0)
  params["encoder"]["layer10"] = {"kernel": np.ones(2)}
  assert optim.group_params(params, tuple(factors)) == {
    "encoder": {
      "layer1": {"kernel": "encoder/layer1"},
      "layer10": {"kernel": "encoder"},
    },
    "encoder2": {"bias": "head"},
    "decoder": {"output": {"kernel": "decoder/output/kernel"}},
  }
  moved = jax.tree.map(
    lambda a, b: bool(np.any(a != np.float32(b))),
    train(make(factors=factors), params, [params]),
    params,
  )
  assert moved["encoder"] == {
    "layer1": {"kernel": False},
    "layer10": {"kernel": True},
  }


@pytest.mark.parametrize("group", ["backbone", "encoder/layer", "deco"])
def test_a_group_without_parameters_is_refused(group):
  params, _ = start_and_gradients(0)
  with pytest.raises(ValueError) as error:
    optim.check_groups(params, (*GROUPS, group))
  message = str(error.value)
  assert message.startswith(f"optim.factors.{group}: ") and "\n" not in message
  assert "encoder, encoder2, decoder" in message


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_idle_parameters_stay_and_have_no_state(kind):
  params, gradients = start_and_gradients(2)
  options = optim.OptimOptions(kind=kind, factors=GROUPS)
  tx = optim.create_optimizer(options, **RATES, idle=("encoder2",))
  after = train(tx, params, gradients)
  np.testing.assert_array_equal(
    after["encoder2"]["bias"], np.float32(params["encoder2"]["bias"])
  )
  assert np.any(
    after["encoder"]["layer1"]["kernel"]
    != np.float32(params["encoder"]["layer1"]["kernel"])
  )
  whole = jax.tree.leaves(optim.create_optimizer(options, **RATES).init(params))
  assert len(jax.tree.leaves(tx.init(params))) < len(whole)


def test_a_late_rate_is_that_of_the_step_before():
  options = optim.OptimOptions(factors=GROUPS)
  late = optim.OptimOptions(factors=GROUPS, late_rate=True)
  rate = optim.learning_rates(options, **RATES)["head"]
  rate_late = optim.learning_rates(late, **RATES)["head"]
  assert [float(rate_late(step)) for step in range(4)] == [
    float(rate(step)) for step in (0, 0, 1, 2)
  ]


def test_each_group_has_a_rate_to_be_logged():
  options = optim.OptimOptions(factors=GROUPS | {"decoder/output": 0.5})
  rates = optim.learning_rates(options, **RATES)
  assert {name: float(rate(0)) for name, rate in rates.items()} == (
    pytest.approx({"encoder": 0.01, "head": 0.1, "decoder/output": 0.005})
  )
  assert float(rates["head"](5)) == pytest.approx(0.1 * 0.5**0.9)


@pytest.mark.parametrize("per_16, expected", [(False, 0.02), (True, 0.01)])
def test_the_rate_may_be_that_of_16_images(per_16, expected):
  options = optim.OptimOptions(learning_rate=0.02, lr_per_16=per_16)
  assert options.base_rate(8) == expected


def test_factors_are_a_part_of_a_config():
  config = config_dict.ConfigDict({"optim": optim.OptimOptions.defaults()})
  config.lock()
  config.update_from_flattened_dict({"optim.factors.head": 1.0})
  assert optim.OptimOptions.read(config).factors == {
    "encoder": 1.0,
    "head": 1.0,
  }


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"kind": "adam"}, "optim.kind='adam': expected one of sgd, adamw"),
    ({"learning_rate": 0}, "optim.learning_rate=0: must be > 0"),
    ({"factors": {"head": -1}}, "optim.factors.head=-1: must be >= 0"),
    ({"factors": {"encoder": 1}}, "optim.factors.head is missing"),
    ({"momentum": 1.1}, "optim.momentum=1.1: must be in"),
    ({"beta2": 1.0}, "optim.beta2=1.0: must be in"),
    ({"accumulate_steps": 0}, "optim.accumulate_steps=0: must be >= 1"),
  ],
)
def test_values_out_of_range_are_refused(changes, message):
  with pytest.raises(ValueError) as error:
    optim.OptimOptions(**changes)
  assert str(error.value).startswith(message)
