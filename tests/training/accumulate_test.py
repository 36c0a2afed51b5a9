"""Batches in parts: which images, in what order, and the means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from u2pl_jax.runtime import sharding
from u2pl_jax.training import accumulate


def test_parts_take_every_n_th_image():
  batch = {"x": np.arange(8), "y": 10 * np.arange(4).reshape(4, 1)}
  parts = accumulate.split_batch(batch, 2)
  np.testing.assert_array_equal(parts["x"], [[0, 2, 4, 6], [1, 3, 5, 7]])
  np.testing.assert_array_equal(parts["y"][:, :, 0], [[0, 20], [10, 30]])


def test_no_image_changes_its_device():
  mesh = sharding.create_mesh()
  batch = sharding.to_global({"x": np.arange(32.0).reshape(16, 2)}, mesh)
  split = jax.jit(lambda x: accumulate.split_batch(x, 2)["x"])
  text = split.lower(batch).compile().as_text()
  moves = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
  assert not any(move in text for move in moves)


def compute(running, part, keys):
  """Remembers the first image of the part last seen, and counts parts."""
  _, count = running
  mean = jnp.mean(part["x"])
  noise = jax.random.uniform(keys["noise"])
  return (part["x"][0], count + 1), ({"w": mean}, {"noise": noise})


@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_means_over_the_parts(num_parts):
  batch = {"x": np.float32([1, 2, 3, 4, 5, 6, 7, 12])}
  keys = {"noise": jax.random.key(0)}
  (first_of_last, count), gradients, metrics = jax.jit(
    lambda batch: accumulate.accumulate(
      compute, (jnp.float32(0), jnp.int32(0)), batch, keys, num_parts
    )
  )(batch)
  assert (first_of_last, count) == (num_parts, num_parts)
  np.testing.assert_allclose(gradients["w"], 5.0)
  draws = [
    jax.random.uniform(jax.random.fold_in(keys["noise"], i))
    for i in range(num_parts)
  ]
  if num_parts == 1:
    draws = [jax.random.uniform(keys["noise"])]
  np.testing.assert_allclose(metrics["noise"], np.mean(draws), rtol=1e-6)


def test_a_step_in_parts_is_the_mean_of_steps_on_the_parts():
  """Supervised; where nothing but the gradient looks at the whole batch."""
  model, tx = tiny.make_model(), tiny.make_tx()
  phases = tiny.make_phases(model)
  state = tiny.make_state(model, tx, phases)
  batch = tiny.make_batch(batch_size=4)
  losses = []
  whole = tiny.make_step(model, tx, phases[0], accumulate_steps=2)
  _, metrics = whole(state, batch, jax.random.key(1))
  part_step = tiny.make_step(model, tx, phases[0])
  for index in range(2):
    part = jax.tree.map(lambda x: x[index::2], batch)  # noqa: B023
    state_after, part_metrics = part_step(state, part, jax.random.key(1))
    losses.append(part_metrics["loss/supervised"])
    # The second part's statistics start where the first's end.
    state = state.replace(batch_stats=state_after.batch_stats)
  np.testing.assert_allclose(
    metrics["loss/supervised"], np.mean(losses), rtol=1e-5
  )


def test_a_semi_step_in_parts_pushes_keys_of_every_part():
  model, tx = tiny.make_model(), tiny.make_tx()
  parts = tiny.make_parts(model, accumulate_steps=2, batch_size=4)
  semi, state = tiny.make_semi(model, tx, parts=parts)
  batch = tiny.make_batch(batch_size=4)
  after, metrics = semi(state, batch, jax.random.key(1))
  count = after.memory.bank.count
  assert np.all(count <= 2 * tiny.MAX_KEYS)
  assert np.any(count > tiny.MAX_KEYS)
  assert np.isfinite(metrics["loss/total"])
  assert after.step == 1
