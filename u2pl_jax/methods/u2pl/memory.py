"""What U2PL remembers: the teacher and the bank of negative keys."""

import flax.struct
import jax

from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import contrast, memory_bank, settings
from u2pl_jax.runtime import sharding


@flax.struct.dataclass
class Memory:
  """What U2PL keeps from step to step.

  Attributes:
    teacher: {"params", "batch_stats"}.
    bank: negative keys; None without the contrastive loss.
  """

  teacher: method.Variables
  bank: memory_bank.MemoryBank | None


def make(
  key: jax.Array,
  student: method.Variables,
  *,
  parts: method.Parts,
  semi: settings.SemiOptions,
  contrast_options: contrast.ContrastOptions,
) -> Memory:
  """A teacher, by `semi.teacher_init`, and an empty bank."""
  teacher, bank = student, None
  if semi.teacher_init == "independent":
    teacher = parts.model.init_variables(key)
  if contrast_options.weight:
    bank = contrast_options.create_bank(
      parts.model.num_classes,
      parts.model.rep_channels,
      pushes=parts.accumulate_steps,
    )
  return Memory(teacher=dict(teacher), bank=bank)


def start(
  memory: Memory, student: method.Variables, *, semi: settings.SemiOptions
) -> Memory:
  """The teacher becomes the student, if need be but for its statistics."""
  teacher = {**memory.teacher, "params": student["params"]}
  if semi.teacher_init == "at_start" or semi.teacher_batch_stats == "ema":
    teacher["batch_stats"] = student["batch_stats"]
  return memory.replace(teacher=teacher)


def restore(old: Memory, new: Memory, is_bad: jax.Array) -> Memory:
  teacher = method.choose(old.teacher, new.teacher, is_bad)
  bank = new.bank
  if bank is not None:
    # To choose between the keys would take the memory of a second bank.
    bank = memory_bank.take_back(old.bank, bank, is_bad)
  return Memory(teacher=teacher, bank=bank)


def lay_out(memory: Memory, mesh: jax.sharding.Mesh) -> Memory:
  """The bank is split along D, so that keys are written and drawn in place.

  Only their products with anchors are then added up among the devices.
  """
  shardings = sharding.split_tree(memory, mesh)
  if memory.bank is None:
    return shardings
  keys = sharding.split_axis(memory.bank.keys.shape, -1, mesh)
  return shardings.replace(bank=shardings.bank.replace(keys=keys))
