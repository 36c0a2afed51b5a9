"""Everything that training changes, as one pytree of arrays."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import traverse_util

from u2pl_jax.methods import method
from u2pl_jax.runtime import sharding
from u2pl_jax.training import frozen as frozen_lib

PyTree = Any


@flax.struct.dataclass
class TrainState:
  """The state of a run; saving it saves the run.

  Attributes:
    step: [] int32, updates made so far.
    params, batch_stats: the student's, but for what is frozen.
    opt_state: the optimizer's.
    memory: the method's, of the phase that the last update belongs to; a
      teacher in it lacks what is frozen.
    frozen: variables of parts that never change, of student and teacher; None
      where all are trained.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  opt_state: PyTree
  memory: method.Memory
  frozen: frozen_lib.Frozen = None

  @property
  def student(self) -> dict[str, PyTree]:
    """Its variables, {"params", "batch_stats"}, of the whole network."""
    trained = {"params": self.params, "batch_stats": self.batch_stats}
    return frozen_lib.join(trained, self.frozen)

  def network(self, name: str) -> method.Variables:
    """The variables of the "student" or the "teacher", whole.

    Raises:
      ValueError: there is no teacher.
    """
    if name == "student":
      return self.student
    teacher = method.teacher_of(self.memory)
    if teacher is None:
      raise ValueError("--state=teacher: at this step there is only a student")
    return frozen_lib.join(teacher, self.frozen)


def create_train_state(
  key: jax.Array,
  model: nn.Module,
  tx: optax.GradientTransformation,
  phase: method.Phase,
) -> TrainState:
  """A fresh state.

  Args:
    key: PRNG key; fixes every initial value.
    model: the network; its attribute `frozen` names parts to be left alone.
    tx: the optimizer.
    phase: the first one, which has begun.

  Returns:
    A `TrainState` at step 0.
  """
  key_student, _ = jax.random.split(key)
  student = model.init_variables(key_student)
  trained, frozen = frozen_lib.split(student, model.frozen)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    opt_state=tx.init(trained["params"]),
    memory=_begin(phase, None, key, student, frozen),
    frozen=frozen,
    **trained,
  )


def begin_phase(
  state: TrainState, phase: method.Phase, key: jax.Array
) -> TrainState:
  """The state with the memory that a phase begins with.

  Args:
    state: after the last update of the phase before.
    phase: that begins.
    key: the one of `create_train_state`.
  """
  memory = frozen_lib.complete(state.memory, state.frozen)
  return state.replace(
    memory=_begin(phase, memory, key, state.student, state.frozen)
  )


def _begin(
  phase: method.Phase,
  memory: method.Memory,
  key: jax.Array,
  student: PyTree,
  frozen: frozen_lib.Frozen,
) -> method.Memory:
  _, key_memory = jax.random.split(key)
  memory = method.begin(phase, memory, key_memory, student)
  memory = frozen_lib.reduce(memory, frozen)
  # A copy of the student must not share its buffers: the step donates both.
  return jax.tree.map(jnp.copy, memory)


def lay_out(
  state: TrainState, phase: method.Phase, mesh: jax.sharding.Mesh
) -> TrainState:
  """How each array of a state lies on the mesh.

  With more than one device on the `fsdp` axis these share the parameters, the
  optimizer's state, and the method's memory.

  Args:
    state: of arrays or their shapes.
    phase: that its memory belongs to.
    mesh: of all devices.

  Returns:
    A `TrainState` of shardings.
  """
  shardings = sharding.split_tree(state.replace(memory=None), mesh)
  return shardings.replace(memory=phase.method.lay_out(state.memory, mesh))


def start_from(state: TrainState, variables: Mapping[str, Any]) -> TrainState:
  """Replaces variables of student and teacher, each on its devices.

  Args:
    state: with or without a teacher.
    variables: {"params", "batch_stats"}, nested dictionaries of numpy arrays
      for a part of the network, such as its encoder.

  Returns:
    The state with those leaves replaced, for both alike.
  """

  def replace(network: Mapping[str, PyTree]) -> dict[str, PyTree]:
    return {
      name: _replace_leaves(tree, variables.get(name, {}))
      for name, tree in network.items()
    }

  trained = {"params": state.params, "batch_stats": state.batch_stats}
  frozen = state.frozen and replace(state.frozen)
  state = state.replace(frozen=frozen, **replace(trained))
  teacher = method.teacher_of(state.memory)
  if teacher is None:
    return state
  return state.replace(memory=state.memory.replace(teacher=replace(teacher)))


def _replace_leaves(tree: PyTree, given: Mapping[str, Any]) -> PyTree:
  """The tree with those leaves that are given; it may lack some of them."""
  leaves = traverse_util.flatten_dict(tree)
  for path, value in traverse_util.flatten_dict(given).items():
    if path not in leaves:
      continue
    leaves[path] = jax.make_array_from_callback(
      value.shape, leaves[path].sharding, value.__getitem__
    )
  return traverse_util.unflatten_dict(leaves)
