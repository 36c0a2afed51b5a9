"""Parts of the network that never change, kept once for student and teacher.

A method knows nothing of them: its student and its teacher are whole networks.
Between steps the state holds what is trained and, apart from it, what is not.
The variables of a network are {"params", "batch_stats"}, of parts by name.
"""

from collections.abc import Collection, Mapping
from typing import Any

from u2pl_jax.methods import method

PyTree = Any
Frozen = Mapping[str, PyTree] | None  # As variables; None where all is trained.


def split(
  variables: Mapping[str, PyTree], parts: Collection[str]
) -> tuple[dict[str, PyTree], Frozen]:
  """What is trained of a whole network, and what is not.

  Args:
    variables: of the network.
    parts: the names of those that are frozen; none for a `Frozen` of None.
  """
  if not parts:
    return dict(variables), None
  trained, frozen = (
    {
      name: {p: leaves for p, leaves in tree.items() if (p in parts) == is_in}
      for name, tree in variables.items()
    }
    for is_in in (False, True)
  )
  return trained, frozen


def join(trained: Mapping[str, PyTree], frozen: Frozen) -> dict[str, PyTree]:
  """The whole network; the reverse of `split`."""
  if frozen is None:
    return dict(trained)
  return {
    name: {**tree, **frozen.get(name, {})} for name, tree in trained.items()
  }


def complete(memory: method.Memory, frozen: Frozen) -> method.Memory:
  """The memory with a whole teacher, where it has one."""
  teacher = method.teacher_of(memory)
  if frozen is None or teacher is None:
    return memory
  return memory.replace(teacher=join(teacher, frozen))


def reduce(memory: method.Memory, frozen: Frozen) -> method.Memory:
  """The memory with what is trained of its teacher."""
  teacher = method.teacher_of(memory)
  if frozen is None or teacher is None:
    return memory
  parts = {part for tree in frozen.values() for part in tree}
  return memory.replace(teacher=split(teacher, parts)[0])
