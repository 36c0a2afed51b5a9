"""Steps of the three methods: the same on any mesh, and their views."""

import functools

import jax
import numpy as np
import pytest

from tests.methods.consistency import settings_test
from tests.parity import unimatch_networks
from u2pl_jax.losses import pixelwise
from u2pl_jax.runtime import sharding
from u2pl_jax.training import optim, train_state, train_step

SIDE = {1: 17, 2: 28}
KINDS = {
  "unimatch": (
    1,
    {"unimatch__partner": "same_image", "consistency__groups": 2},
  ),
  "unimatch_reversed": (1, {}),
  "unimatch_v2": (2, {"consistency__groups": 4}),
  "fixmatch": (1, {}),
  "fixmatch_student": (1, {"fixmatch__labels_by": "student"}),
}
BATCH = 8


@functools.cache
def prepare(kind):
  """The step, uncompiled, and its first state."""
  version, changes = KINDS[kind]
  name = "unimatch_v2" if version == 2 else kind.partition("_")[0]
  model = unimatch_networks.create({"version": version, "K": 3})
  loss = pixelwise.make_supervised_loss(pixelwise.LossOptions())
  parts = settings_test.make_parts(
    batch_size_l=BATCH, batch_size_u=BATCH, model=model
  )
  parts = parts.__class__(**{**vars(parts), "supervised_loss": loss})
  changes = {"consistency__threshold": 0.3} | changes
  (phase,) = settings_test.create(name, parts, **changes)
  settings = optim.OptimOptions(learning_rate=0.01)
  tx = optim.create_optimizer(settings, learning_rate=0.01, total_steps=10)
  state = train_state.create_train_state(jax.random.key(0), model, tx, phase)
  return phase, train_step.make_step(model, tx, phase.method), state


def make_batch(kind):
  rng = np.random.default_rng(0)
  side = SIDE[KINDS[kind][0]]
  maps = (BATCH, side, side)
  return {
    "image_l": rng.integers(0, 256, (*maps, 3), np.uint8),
    "label_l": rng.integers(0, 3, maps, np.uint8),
    "image_u": rng.integers(0, 256, (*maps, 3), np.uint8),
    "image_u2": rng.integers(0, 256, (*maps, 3), np.uint8),
    "padding_u": (rng.random(maps) < 0.2).astype(np.uint8),
    "padding_u2": (rng.random(maps) < 0.2).astype(np.uint8),
  }


def run(kind, devices, steps=2):
  """The state and the metrics after some steps on some devices."""
  phase, step, state = prepare(kind)
  mesh = sharding.create_mesh(devices=devices)
  batch = make_batch(kind)
  if phase.supply.second == "":
    del batch["image_u2"], batch["padding_u2"]
  batch = jax.device_put(batch, sharding.split_batch(mesh))
  state = jax.device_put(state, sharding.replicate(mesh))
  step = jax.jit(step)
  for _ in range(steps):
    state, metrics = step(state, batch, jax.random.key(5))
  return jax.device_get((state, metrics))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_device_and_eight_agree(kind):
  state, metrics = run(kind, jax.devices()[:1])
  other, others = run(kind, jax.devices())
  assert metrics.keys() == others.keys()
  for name, value in metrics.items():
    assert np.isfinite(value)
    np.testing.assert_allclose(value, others[name], rtol=1e-4, err_msg=name)
  assert 0 < metrics["consistency/mask_ratio"] <= 1
  assert metrics["loss/strong1"] > 0
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    state.params,
    other.params,
  )
