"""Everything that training changes, as one pytree of arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import traverse_util

from u2pl_jax.methods.u2pl import memory_bank as memory_bank_lib
from u2pl_jax.runtime import sharding

PyTree = Any


TEACHER_INITS = ("student", "independent")


@flax.struct.dataclass
class TrainState:
  """The state of a run; saving it saves the run.

  Attributes:
    step: [] int32, updates made so far.
    params, batch_stats: the student's.
    opt_state: the optimiser's.
    teacher_params, teacher_batch_stats: the teacher's; None without one.
    memory_bank: negative keys; None without the contrastive loss.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  opt_state: PyTree
  teacher_params: PyTree
  teacher_batch_stats: PyTree
  memory_bank: memory_bank_lib.MemoryBank | None

  @property
  def student_variables(self) -> dict[str, PyTree]:
    return {"params": self.params, "batch_stats": self.batch_stats}

  @property
  def teacher_variables(self) -> dict[str, PyTree]:
    return {
      "params": self.teacher_params,
      "batch_stats": self.teacher_batch_stats,
    }


def create_train_state(
  key: jax.Array,
  model: nn.Module,
  tx: optax.GradientTransformation,
  *,
  image_size: tuple[int, int],
  teacher_init: str | None,
  bank_capacity: Sequence[int] = (),
  bank_dtype: jnp.dtype = jnp.float32,
  bank_spare: int = 0,
) -> TrainState:
  """A fresh state.

  Args:
    key: PRNG key; fixes every initial value.
    model: of which `init` is called on one image.
    tx: the optimiser.
    image_size: (H, W) to initialise with; does not change any shape.
    teacher_init: "student" for a copy of the student, "independent" for
      initial values of its own (published code), None for no teacher.
    bank_capacity: keys for each class; empty for no bank.
    bank_dtype: of the bank's keys.
    bank_spare: keys of a class that one step may push.

  Returns:
    A `TrainState` at step 0.

  Raises:
    ValueError: `teacher_init` is unknown.
  """
  if teacher_init is not None and teacher_init not in TEACHER_INITS:
    raise ValueError(
      f"semi.teacher_init={teacher_init!r}: expected one of {TEACHER_INITS}"
    )
  key_student, key_teacher = jax.random.split(key)
  images = jnp.zeros((1, *image_size, 3), jnp.float32)

  def init(key):
    return model.init(key, images, train=False, dropout=False)

  student, teacher = init(key_student), {}
  if teacher_init:
    teacher = init(key_student if teacher_init == "student" else key_teacher)
  bank = None
  if bank_capacity:
    bank = memory_bank_lib.create_memory_bank(
      bank_capacity, model.rep_channels, bank_dtype, spare=bank_spare
    )
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=student["params"],
    batch_stats=student["batch_stats"],
    opt_state=tx.init(student["params"]),
    teacher_params=teacher.get("params"),
    teacher_batch_stats=teacher.get("batch_stats"),
    memory_bank=bank,
  )


def state_sharding(state: TrainState, mesh: jax.sharding.Mesh) -> TrainState:
  """How each array of a state lies on the mesh.

  With more than one device on the `fsdp` axis these share the parameters, the
  momentum, the teacher and the bank. Of the bank each holds a part of every
  key, so that keys are written and drawn without any exchange, and only their
  products with anchors are added up.

  Args:
    state: of arrays or their shapes.
    mesh: of all devices.

  Returns:
    A `TrainState` of shardings.
  """

  def of_array(leaf):
    return sharding.split_largest_axis(leaf.shape, mesh)

  shardings = jax.tree.map(of_array, state)
  if state.memory_bank is None:
    return shardings
  keys = sharding.split_axis(state.memory_bank.keys.shape, -1, mesh)
  return shardings.replace(memory_bank=shardings.memory_bank.replace(keys=keys))


def start_from(state: TrainState, variables: Mapping[str, Any]) -> TrainState:
  """Replaces variables of student and teacher, each on its devices.

  Args:
    state: with or without a teacher.
    variables: {"params", "batch_stats"}, nested dictionaries of numpy arrays
      for a part of the network, such as its encoder.

  Returns:
    The state with those leaves replaced, for both alike.
  """

  def replace(collection: str, tree: PyTree) -> PyTree:
    if tree is None:
      return None
    leaves = traverse_util.flatten_dict(tree)
    given = traverse_util.flatten_dict(variables[collection])
    for path, value in given.items():
      leaves[path] = jax.make_array_from_callback(
        value.shape, leaves[path].sharding, value.__getitem__
      )
    return traverse_util.unflatten_dict(leaves)

  return state.replace(
    params=replace("params", state.params),
    batch_stats=replace("batch_stats", state.batch_stats),
    teacher_params=replace("params", state.teacher_params),
    teacher_batch_stats=replace("batch_stats", state.teacher_batch_stats),
  )


def ema_update(teacher: PyTree, student: PyTree, decay: jax.Array) -> PyTree:
  """decay * teacher + (1 - decay) * student, leaf by leaf."""
  return optax.incremental_update(student, teacher, 1.0 - decay)


def teacher_at_start(
  state: TrainState, *, is_first: jax.Array, copy_statistics: bool
) -> dict[str, PyTree]:
  """The teacher's variables as a semi step begins.

  Args:
    state: with a teacher.
    is_first: [] bool; at the first semi step the teacher becomes a copy of
      the student.
    copy_statistics: whether that holds for BN statistics too.
  """

  def copy_if_first(teacher, student):
    return jax.tree.map(
      lambda t, s: jnp.where(is_first, s, t), teacher, student
    )

  statistics = state.teacher_batch_stats
  if copy_statistics:
    statistics = copy_if_first(statistics, state.batch_stats)
  params = copy_if_first(state.teacher_params, state.params)
  return {"params": params, "batch_stats": statistics}
