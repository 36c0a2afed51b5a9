"""Layers against numpy oracles of PyTorch's rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from u2pl_jax.models import layers


def _batch_norm_case(dtype=jnp.float32):
  rng = np.random.default_rng(0)
  x = (rng.normal(size=(8, 3, 2, 5)) * 2 + 7).astype(np.float32)
  norm = layers.BatchNorm(dtype)
  variables = {
    "params": {
      "scale": rng.normal(size=5).astype(np.float32),
      "bias": rng.normal(size=5).astype(np.float32),
    },
    "batch_stats": {
      "mean": rng.normal(size=5).astype(np.float32),
      "var": rng.uniform(1, 2, size=5).astype(np.float32),
    },
  }
  return norm, variables, x


def _apply_train(norm, variables, x):
  return jax.jit(
    lambda v, x: norm.apply(v, x, train=True, mutable=["batch_stats"])
  )(variables, x)


def _normalize(x, mean, var, params):
  x = (x.astype(np.float64) - mean) / np.sqrt(var + 1e-5)
  return x * params["scale"] + params["bias"]


def test_batch_norm_in_training_uses_batch_and_records_unbiased_variance():
  norm, variables, x = _batch_norm_case()
  y, updates = _apply_train(norm, variables, x)
  x64 = x.astype(np.float64)
  mean, var = x64.mean((0, 1, 2)), x64.var((0, 1, 2))
  expected = _normalize(x, mean, var, variables["params"])
  np.testing.assert_allclose(y, expected, atol=1e-5)
  old, new = variables["batch_stats"], updates["batch_stats"]
  np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * mean, 1e-6)
  unbiased = x64.var((0, 1, 2), ddof=1)
  np.testing.assert_allclose(
    new["var"], 0.9 * old["var"] + 0.1 * unbiased, 1e-6
  )


def test_batch_norm_in_evaluation_uses_running_statistics():
  norm, variables, x = _batch_norm_case()
  y = jax.jit(lambda v, x: norm.apply(v, x, train=False))(variables, x)
  stats = variables["batch_stats"]
  expected = _normalize(x, stats["mean"], stats["var"], variables["params"])
  np.testing.assert_allclose(y, expected, atol=1e-5)


def test_batch_norm_spans_a_batch_sharded_over_devices():
  norm, variables, x = _batch_norm_case()
  expected = _apply_train(norm, variables, x)
  devices = jax.devices()[:8]
  mesh = jax.sharding.Mesh(np.array(devices), ("data",))
  spec = jax.sharding.PartitionSpec("data")
  sharded = jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))
  actual = _apply_train(norm, variables, sharded)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), actual, expected
  )


def test_batch_norm_in_bfloat16_keeps_float32_statistics():
  norm, variables, x = _batch_norm_case(jnp.bfloat16)
  x = x.astype(jnp.bfloat16)
  y, updates = _apply_train(norm, variables, x)
  assert y.dtype == jnp.bfloat16
  # Exact statistics of the rounded input: nothing was summed in bfloat16.
  mean = np.asarray(x, np.float64).mean((0, 1, 2))
  old, new = variables["batch_stats"], updates["batch_stats"]
  assert new["mean"].dtype == new["var"].dtype == np.float32
  np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * mean, 1e-5)


def test_batch_norm_refuses_a_single_value_per_channel():
  norm, variables, _ = _batch_norm_case()
  with pytest.raises(ValueError, match="more than one value per channel"):
    _apply_train(norm, variables, np.zeros((1, 1, 1, 5), np.float32))


def test_init_does_not_count_as_an_update():
  norm, _, x = _batch_norm_case()
  variables = norm.init(jax.random.key(0), x, train=True)
  np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(5))
  np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(5))


class _Dropout(nn.Module):
  @nn.compact
  def __call__(self, x, dropout):
    return layers.dropout_channels(x, 0.25, dropout=dropout, name="dropout")


def test_dropout_drops_whole_channels_of_single_images():
  x = np.ones((16, 4, 3, 64), np.float32)
  y = jax.jit(
    lambda x, key: _Dropout().apply({}, x, True, rngs={"dropout": key})
  )(x, jax.random.key(1))
  y = np.asarray(y)
  np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
  kept = y[:, 0, 0] != 0
  np.testing.assert_allclose(y[:, 0, 0][kept], 1 / 0.75, rtol=1e-6)
  # 1024 draws; the bound is four standard errors.
  assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / kept.size)
  assert (kept[0] != kept[1]).any()


def test_dropout_off_is_the_identity_and_needs_no_rng():
  x = np.ones((2, 1, 1, 8), np.float32)
  np.testing.assert_array_equal(_Dropout().apply({}, x, False), x)


def test_initialisers_have_pytorchs_ranges():
  key = jax.random.key(0)
  shape = (3, 3, 16, 64)
  encoder = layers.kaiming_normal_fan_out(key, shape)
  assert encoder.shape == shape
  np.testing.assert_allclose(encoder.std(), np.sqrt(2 / (9 * 64)), rtol=0.05)
  values = layers.uniform_fan_in(9 * 16)(key, shape)
  assert values.shape == shape
  bound = 1 / np.sqrt(9 * 16)
  assert 0.98 * bound < np.abs(values).max() <= 1.0001 * bound
  np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.05)
  assert abs(values.mean()) < 4 * bound / np.sqrt(3 * values.size)


def test_conv_draws_kernel_and_bias_from_the_same_range():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      conv = layers.conv(
        300,
        3,
        init=layers.uniform_fan_in(9 * x.shape[-1]),
        use_bias=True,
        dtype=jnp.float32,
        name="conv",
      )
      return conv(x)

  params = Net().init(jax.random.key(0), jnp.zeros((1, 3, 3, 14)))["params"]
  bound = 1 / np.sqrt(9 * 14)
  for values in params["conv"].values():
    assert 0.95 * bound < np.abs(values).max() <= 1.0001 * bound


def test_layer_strides_keep_the_previous_dilation_first():
  assert layers.layer_strides(8) == [
    (1, 1, 1),
    (2, 1, 1),
    (1, 1, 2),
    (1, 2, 4),
  ]
  assert layers.layer_strides(16)[2:] == [(2, 1, 1), (1, 1, 2)]
  assert layers.layer_strides(32)[2:] == [(2, 1, 1), (2, 1, 1)]
