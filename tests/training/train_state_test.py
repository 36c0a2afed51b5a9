"""Parts of a state are replaced without touching the others."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.methods import method
from u2pl_jax.runtime import sharding
from u2pl_jax.training import train_state


@flax.struct.dataclass
class Memory:
  teacher: dict


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
    memory=Memory({"params": params(3.0), "batch_stats": statistics(4.0)})
    if has_teacher
    else None,
  )


GIVEN = {
  "params": {"encoder": {"kernel": np.arange(6, dtype="f4").reshape(2, 3)}},
  "batch_stats": {"encoder": {"mean": np.arange(3, dtype="f4")}},
}


def test_student_and_teacher_start_from_the_given_part():
  state = train_state.start_from(_make_state(has_teacher=True), GIVEN)
  for variables, kept in (
    (state.student, 1.0),
    (state.network("teacher"), 3.0),
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
  assert state.memory is None
  with pytest.raises(ValueError, match="--state=teacher: .* only a student"):
    state.network("teacher")


@pytest.mark.parametrize("devices", [1, 8])
def test_given_leaves_lie_where_the_old_ones_lay(devices):
  mesh = sharding.create_mesh(devices=jax.devices()[:devices])
  state = jax.device_put(_make_state(True), sharding.replicate(mesh))
  started = train_state.start_from(state, GIVEN)
  assert jax.tree.map(lambda x: x.sharding, started) == jax.tree.map(
    lambda x: x.sharding, state
  )


def test_the_memory_is_made_anew_or_carried_on():
  made = method.Method(
    None,
    None,
    init=lambda key, student: student["params"]["decoder"]["kernel"],
    start=lambda memory, student: memory + 1,
  )
  phase = method.Phase("made", 1, made)
  state = _make_state(has_teacher=False)
  begun = train_state.begin_phase(state, phase, jax.random.key(0))
  np.testing.assert_array_equal(begun.memory, [2, 2, 2, 2])
  begun = train_state.begin_phase(begun, phase, jax.random.key(0))
  np.testing.assert_array_equal(begun.memory, [3, 3, 3, 3])
