"""Parts of a state are replaced without touching the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.runtime import sharding
from u2pl_jax.training import train_state


def _make_state(has_teacher):
  def params(value):
    return {
      "encoder": {"kernel": jnp.full((2, 3), value)},
      "decoder": {"kernel": jnp.full(4, value)},
    }

  def statistics(value):
    return {"encoder": {"mean": jnp.full(3, value)}}

  return train_state.TrainState(
    step=jnp.int32(0),
    params=params(1.0),
    batch_stats=statistics(2.0),
    opt_state=(),
    teacher_params=params(3.0) if has_teacher else None,
    teacher_batch_stats=statistics(4.0) if has_teacher else None,
    memory_bank=None,
  )


GIVEN = {
  "params": {"encoder": {"kernel": np.arange(6, dtype="f4").reshape(2, 3)}},
  "batch_stats": {"encoder": {"mean": np.arange(3, dtype="f4")}},
}


def test_student_and_teacher_start_from_the_given_part():
  state = train_state.start_from(_make_state(has_teacher=True), GIVEN)
  for variables, kept in (
    (state.student_variables, 1.0),
    (state.teacher_variables, 3.0),
  ):
    np.testing.assert_array_equal(
      variables["params"]["encoder"]["kernel"],
      GIVEN["params"]["encoder"]["kernel"],
    )
    np.testing.assert_array_equal(
      variables["batch_stats"]["encoder"]["mean"], [0, 1, 2]
    )
    assert np.all(variables["params"]["decoder"]["kernel"] == kept)


def test_a_state_without_teacher_stays_without():
  state = train_state.start_from(_make_state(has_teacher=False), GIVEN)
  assert state.teacher_params is None and state.teacher_batch_stats is None


@pytest.mark.parametrize("devices", [1, 8])
def test_given_leaves_lie_where_the_old_ones_lay(devices):
  mesh = sharding.create_mesh(devices=jax.devices()[:devices])
  state = jax.device_put(_make_state(True), sharding.replicate(mesh))
  started = train_state.start_from(state, GIVEN)
  assert jax.tree.map(lambda x: x.sharding, started) == jax.tree.map(
    lambda x: x.sharding, state
  )
