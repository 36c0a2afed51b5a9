"""What U2PL remembers: the teacher and the bank of negative keys."""

import flax.struct
import jax

from u2pl_jax.methods import method
from u2pl_jax.methods import teacher as teacher_lib
from u2pl_jax.methods.u2pl import contrast, memory_bank, settings
from u2pl_jax.models import forward
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
  semi: settings.TeacherOptions,
  contrast_options: contrast.ContrastOptions,
) -> Memory:
  """A teacher, by `semi.teacher_init`, and an empty bank."""
  teacher = student
  if semi.teacher_init == "independent":
    teacher = parts.model.init_variables(key)
  return Memory(teacher=dict(teacher), bank=make_bank(parts, contrast_options))


def make_bank(
  parts: method.Parts, contrast_options: contrast.ContrastOptions
) -> memory_bank.MemoryBank | None:
  """An empty bank; None without the contrastive loss."""
  if not contrast_options.weight:
    return None
  return contrast_options.create_bank(
    parts.model.num_classes,
    parts.model.rep_channels,
    pushes=parts.accumulate_steps,
  )


def start(
  memory: Memory, student: method.Variables, *, semi: settings.TeacherOptions
) -> Memory:
  """The teacher becomes the student, if need be but for its statistics."""
  teacher = {**memory.teacher, "params": student["params"]}
  if semi.teacher_init == "at_start" or semi.teacher_batch_stats == "ema":
    teacher["batch_stats"] = student["batch_stats"]
  return memory.replace(teacher=teacher)


def train_pass(
  memory: Memory,
  images: jax.Array,
  key: jax.Array,
  *,
  parts: method.Parts,
  semi: settings.TeacherOptions,
) -> tuple[method.Outputs, Memory]:
  """The teacher's outputs in train mode.

  Its statistics move where they are its own.
  """
  outputs, batch_stats = forward.train_pass(
    parts.model, memory.teacher, images, key, dropout=semi.teacher_dropout
  )
  if semi.teacher_batch_stats == "forward":
    teacher = {**memory.teacher, "batch_stats": batch_stats}
    memory = memory.replace(teacher=teacher)
  return outputs, memory


def follow(
  memory: Memory,
  student: method.Variables,
  decay: jax.Array,
  *,
  semi: settings.TeacherOptions,
) -> tuple[Memory, method.Metrics]:
  """The teacher moves towards the student that has just been updated."""
  names = ["params"]
  if semi.teacher_batch_stats == "ema":
    names.append("batch_stats")
  moved = {
    name: teacher_lib.ema_update(memory.teacher[name], student[name], decay)
    for name in names
  }
  metrics = {"semi/ema_decay": decay}
  if memory.bank is not None:
    metrics["bank/fill"] = memory.bank.fill
  return memory.replace(teacher={**memory.teacher, **moved}), metrics


def accompany(
  supervised: method.Method,
  *,
  parts: method.Parts,
  semi: settings.TeacherOptions,
  of: method.Method,
) -> method.Method:
  """The supervised epochs with a teacher that keeps its own statistics.

  It makes a train-mode pass of each batch for their sake; its parameters
  stay as they are.

  Args:
    supervised: the method of the labeled images alone.
    parts: of the run.
    semi: settings of the teacher.
    of: the method whose memory it is.

  Reference: algorithm section 2, last but one paragraph; `train_semi.py`.
  """

  has_own_statistics = (
    semi.teacher_init != "at_start" and semi.teacher_batch_stats == "forward"
  )

  def teach(memory, student, batch, keys, step):
    lesson, memory, metrics = supervised.teach(
      memory, student, batch, keys, step
    )
    if has_own_statistics:
      images, key = lesson.views[0].images, keys["teacher"]
      _, memory = train_pass(memory, images, key, parts=parts, semi=semi)
    return lesson, memory, metrics

  return supervised._replace(
    teach=teach, init=of.init, restore=of.restore, lay_out=of.lay_out
  )


def restore(old: Memory, new: Memory, is_bad: jax.Array) -> Memory:
  teacher = method.choose(old.teacher, new.teacher, is_bad)
  bank = new.bank
  if bank is not None:
    # To choose between the keys would take the memory of a second bank.
    bank = memory_bank.take_back(old.bank, bank, is_bad)
  return new.replace(teacher=teacher, bank=bank)


def lay_out(memory: Memory, mesh: jax.sharding.Mesh) -> Memory:
  """The bank is split along D, so that keys are written and drawn in place.

  Only their products with anchors are then added up among the devices.
  """
  shardings = sharding.split_tree(memory, mesh)
  if memory.bank is None:
    return shardings
  keys = sharding.split_axis(memory.bank.keys.shape, -1, mesh)
  return shardings.replace(bank=shardings.bank.replace(keys=keys))
