"""What U2PL with AEL remembers, beside what U2PL does."""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import memory as u2pl_memory
from u2pl_jax.methods.u2pl_ael import presence
from u2pl_jax.runtime import sharding

Queue = dict[str, jax.Array]


@flax.struct.dataclass
class Memory(u2pl_memory.Memory):
  """What is kept from step to step.

  Attributes:
    confidence: [K] float32 in [0, 1], how sure the student is of each class.
    present: [K, N_u] bool, whether an unlabeled image showed a class when it
      was last seen.
    queue: what the second images of the next steps shall be, int32
      [lag + 1, B_u] each: `position_u2`, places in the unlabeled list, and
      `class_u2`, the classes to be pasted.
    seed: key data of the key from which the queue is drawn.
    boxes: [B, 4] int32, of the mixed images last made.
  """

  confidence: jax.Array
  present: jax.Array
  queue: Queue
  seed: jax.Array
  boxes: jax.Array


def make(
  key: jax.Array,
  of_u2pl: u2pl_memory.Memory,
  *,
  parts: method.Parts,
  lag: int,
) -> Memory:
  """The memory at the start: confidences in [0, 1), and no image known.

  Args:
    key: PRNG key.
    of_u2pl: teacher and bank.
    parts: of the run.
    lag: see `AelOptions.draw_lag`.
  """
  key_confidence, key_queue = jax.random.split(key)
  num_classes = parts.model.num_classes
  memory = Memory(
    teacher=of_u2pl.teacher,
    bank=of_u2pl.bank,
    confidence=jax.random.uniform(key_confidence, (num_classes,)),
    present=jnp.zeros((num_classes, parts.num_unlabeled), bool),
    queue={},
    seed=jax.random.key_data(key_queue),
    boxes=jnp.zeros(
      (parts.batch_size_u // parts.accumulate_steps, 4), jnp.int32
    ),
  )
  queue = _fill_queue(memory, lag + 1, parts.batch_size_u)
  return memory.replace(queue=queue)


def _fill_queue(memory: Memory, length: int, batch_size: int) -> Queue:
  """The draws for the first steps, [length, B_u] each."""
  rows = [_draw(memory, step, batch_size) for step in range(length)]
  return jax.tree.map(lambda *drawn: jnp.stack(drawn), *rows)


def adopt(memory: Memory, remembered: Mapping[str, np.ndarray]) -> Memory:
  """The memory with the classes' state of a published checkpoint.

  Args:
    memory: at the start.
    remembered: maybe `confidence` [K], and `present` [K, N_u] in the order of
      the unlabeled list; anything else is of another method.

  Raises:
    ValueError: they are of other classes or of another list; one line.
  """
  given = {
    name: remembered[name]
    for name in ("confidence", "present")
    if name in remembered
  }
  for name, array in given.items():
    wanted = getattr(memory, name).shape
    if array.shape != wanted:
      raise ValueError(
        f"model.pretrained holds {name} {array.shape}, but this run has"
        f" {wanted} (classes, unlabeled images): it is of other classes or of"
        " another split; convert its file with the list of this split"
      )
  memory = memory.replace(
    **{
      name: jnp.asarray(array, getattr(memory, name).dtype)
      for name, array in given.items()
    }
  )
  length, batch_size = memory.queue["position_u2"].shape
  return memory.replace(queue=_fill_queue(memory, length, batch_size))


def advance(memory: Memory, step: jax.Array) -> Memory:
  """The memory with the draws for one step more, and without the last ones.

  Args:
    memory: after the update of `step`.
    step: [] int32.
  """
  length, batch_size = memory.queue["position_u2"].shape
  drawn = _draw(memory, step + length, batch_size)
  queue = {
    name: jnp.concatenate([rows[1:], drawn[name][None]])
    for name, rows in memory.queue.items()
  }
  return memory.replace(queue=queue)


def _draw(memory: Memory, step: jax.Array | int, batch_size: int) -> Queue:
  """What the second images of a step shall be, [B_u] each."""
  key = jax.random.fold_in(jax.random.wrap_key_data(memory.seed), step)
  classes, positions = presence.draw(
    key, memory.confidence, memory.present, batch_size
  )
  return {"class_u2": classes, "position_u2": positions}


def restore(old: Memory, new: Memory, is_bad: jax.Array) -> Memory:
  """What was learned is taken back; the queue of second images goes on."""
  kept = {
    name: method.choose(getattr(old, name), getattr(new, name), is_bad)
    for name in ("confidence", "present")
  }
  return u2pl_memory.restore(old, new, is_bad).replace(**kept)


def lay_out(memory: Memory, mesh: jax.sharding.Mesh) -> Memory:
  """The small arrays are whole on every device."""
  whole = sharding.replicate(mesh)
  laid_out = u2pl_memory.lay_out(memory, mesh)
  return laid_out.replace(present=whole)
