"""What the devices send each other in a compiled program, read from its text.

The compiler puts collectives where arrays on several devices meet; they show
only in the program it made, `compiled.as_text()`.

A collective's bytes are those of the whole array as one device sees it: of the
result, or of what goes into a reduce-scatter. On a ring of n devices each sends
(n - 1) / n of them, in an all-reduce twice as much. A collective-permute sends
all of them once.
"""

import dataclasses
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from u2pl_jax.runtime import compiled_text

KINDS = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)

_ARRAY = re.compile(r"\b([a-z]\w*)\[([^\]]*)\]")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Array:
  """One of the arrays of a collective.

  Attributes:
    dtype: in the compiler's spelling, "f32".
    shape: on one device.
    op_name: the operation of the program that it comes from.
  """

  dtype: str
  shape: tuple[int, ...]
  op_name: str = ""

  @property
  def nbytes(self) -> int:
    if self.dtype == "pred":
      return math.prod(self.shape)
    # "bf16", "s4", "f8e4m3fn"; tokens have no bits.
    bits = re.search(r"\d+", self.dtype)
    return math.prod(self.shape) * int(bits[0]) // 8 if bits else 0

  def __str__(self) -> str:
    return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def arrays_of(types: str) -> list[Array]:
  """The arrays in the compiler's text of types, "(f32[8,2]{1,0}, s32[])"."""
  return [
    Array(dtype, tuple(map(int, re.findall(r"\d+", dims))))
    for dtype, dims in _ARRAY.findall(types)
  ]


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective of a program; of an asynchronous one start and end together.

  Attributes:
    kind: one of `KINDS`.
    arrays: several, where the compiler has combined collectives.
    count: how often it runs in one run of the program.
    count_is_known: False within a loop of unknown length, where `count` is for
      one iteration.
  """

  kind: str
  arrays: tuple[Array, ...]
  count: int
  count_is_known: bool

  @property
  def nbytes(self) -> int:
    """Of all arrays and all `count` times; see the module's first lines."""
    return self.count * sum(array.nbytes for array in self.arrays)


def parse(text: str) -> list[Collective]:
  """All collectives that a program runs, in its loops and branches too.

  Every branch of a conditional counts, though only one is taken.

  Args:
    text: `compiled.as_text()` of a program compiled for several devices.

  Raises:
    ValueError: the text has no entry computation.
  """
  program = compiled_text.parse(text)
  return list(_walk(program.computations, program.entry, 1, True))


def _walk(
  computations: Mapping[str, compiled_text.Computation],
  name: str,
  count: int,
  count_is_known: bool,
) -> Iterator[Collective]:
  """The collectives of a computation that runs `count` times."""
  instructions = computations[name]
  for instruction in instructions.values():
    opcode = instruction.opcode
    if opcode.removesuffix("-start") in KINDS:
      arrays = _arrays(instruction, instructions)
      yield Collective(
        opcode.removesuffix("-start"), arrays, count, count_is_known
      )
    elif not opcode.endswith(("-done", "-update")):
      times, known = count, count_is_known
      if opcode == "while":
        times *= instruction.trip_count or 1
        known &= instruction.trip_count is not None
      for callee in instruction.called:
        yield from _walk(computations, callee, times, known)


def _arrays(
  instruction: compiled_text.Instruction,
  instructions: compiled_text.Computation,
) -> tuple[Array, ...]:
  """The arrays whose bytes count, with the name of each."""
  types = [instruction.type]
  if instruction.opcode.endswith("-start"):
    # The start's own type holds operands too; the result is that of the end.
    types = [
      other.type
      for other in instructions.values()
      if other.opcode.endswith("-done") and instruction.name in other.operands
    ] or types
  if instruction.opcode.startswith("reduce-scatter"):
    types = [instructions[name].type for name in instruction.operands]
  found = arrays_of(" ".join(types))
  names = _op_names(instruction.rest, len(found))
  return tuple(
    dataclasses.replace(array, op_name=name)
    for array, name in zip(found, names, strict=True)
  )


def _op_names(rest: str, count: int) -> Sequence[str]:
  """The name of each array; combined collectives have "shared/(one:two)"."""
  match = _OP_NAME.search(rest)
  name = match[1] if match else ""
  shared, bracket, own = name.partition("/(")
  parts = own.removesuffix(")").split(":")
  if bracket and own.endswith(")") and len(parts) == count:
    return [f"{shared}/{part}" for part in parts]
  return [name] * count


def dimensions(shape: Sequence[int]) -> tuple[int, ...]:
  """A shape as far as the compiler leaves it: in order of size, without 1."""
  return tuple(sorted(size for size in shape if size > 1))


def is_of_parameters(
  kind: str, array: Array, parameter_dimensions: Collection[tuple[int, ...]]
) -> bool:
  """Whether a gradient is summed, or a parameter gathered.

  That is, whether the array is of floats, and has the dimensions of a parameter
  or of the part of it that a device holds; and, if it is a sum, whether that
  belongs to the backward pass. Vectors do not count: the compiler does not tell
  the gradients of biases and of batch norms' scales from batch statistics. So
  what is sent beside parameters is rather taken for more than it is than for
  less.

  Args:
    kind: the kind of the collective, one of `KINDS`.
    array: one of the arrays that it sends.
    parameter_dimensions: `dimensions` of all parameters, whole and in parts.
  """
  own = dimensions(array.shape)
  is_sum = kind in ("all-reduce", "reduce-scatter")
  return (
    array.dtype.startswith(("f", "bf"))
    and len(own) > 1
    and own in parameter_dimensions
    and ("transpose(" in array.op_name or not is_sum)
  )
