"""Bytes that a program moves between memory and chip, from its text."""

import itertools
from collections.abc import Callable, Iterator, Mapping

from u2pl_jax.runtime import collectives, compiled_text

# Instructions that touch no memory, or whose memory counts elsewhere.
_FREE = (
  "parameter", "constant", "tuple", "get-tuple-element", "bitcast",
  "after-all", "partition-id", "replica-id", "opt-barrier",
)  # fmt: skip
# They run other computations, whose instructions count.
_CALLS = ("while", "conditional", "call")
# They touch a part of an array only.
_SLICES = ("dynamic-slice", "slice", "gather")
_UPDATES = ("dynamic-update-slice", "scatter")


def moved_bytes(text: str, cache: int = 0) -> int:
  """Bytes between memory and chip that a program cannot do without.

  What every instruction reads and writes, after the compiler has put into one
  what fits into one; a loop as often as it runs, one of unknown length once.
  Rather too few than too many: of slices only the results count, of updates in
  place nothing, nothing that the compiler keeps on the chip, and of branches
  the cheapest.

  Args:
    text: `compiled.as_text()`; counts what one device does.
    cache: bytes of each array that may still be on the chip.
  """
  program = compiled_text.parse(text)

  def size(type_of: str) -> int:
    return _bytes_of_type(type_of, cache)

  return _moved(program.computations, program.entry, size)


def _bytes_of_type(type_of: str, cache: int) -> int:
  # "f32[8,2]{1,0:T(8,128)S(1)}": memory space 1 and above is on the chip.
  parts = type_of.replace("}, ", "}\n").splitlines()
  arrays = itertools.chain.from_iterable(
    collectives.arrays_of(part) for part in parts if "S(" not in part
  )
  return sum(max(0, array.nbytes - cache) for array in arrays)


def _moved(
  computations: Mapping[str, compiled_text.Computation],
  name: str,
  size: Callable[[str], int],
) -> int:
  total = 0
  instructions = computations[name]
  for instruction in instructions.values():
    opcode = instruction.opcode
    if opcode in _CALLS:
      costs = [_moved(computations, c, size) for c in instruction.called]
      if opcode == "conditional":
        total += min(costs, default=0)
      else:
        total += sum(costs) * (instruction.trip_count or 1)
    elif opcode not in _FREE:
      total += sum(_touched(computations, instructions, instruction, size))
  return total


def _touched(
  computations: Mapping[str, compiled_text.Computation],
  instructions: compiled_text.Computation,
  instruction: compiled_text.Instruction,
  size: Callable[[str], int],
) -> Iterator[int]:
  """Bytes that one instruction writes, and those that it reads."""
  opcode = instruction.opcode
  inside = {opcode}
  for callee in instruction.called:
    inside |= {each.opcode for each in computations[callee].values()}
  # An asynchronous one reads at its start, and writes before its end.
  if not (opcode.endswith("-start") or inside & set(_UPDATES)):
    yield size(instruction.type)
  if opcode.endswith(("-done", "-update")):
    return
  if not inside & {*_SLICES, *_UPDATES}:
    for operand in instruction.operands:
      if operand in instructions:
        yield size(instructions[operand].type)
