"""Reads the text of a compiled program, `compiled.as_text()`."""

import dataclasses
import re
from collections.abc import Mapping

# "  ROOT %name = (f32[8,2]{1,0}, s32[]) all-reduce(%operand), attributes".
_INSTRUCTION = re.compile(
  r"\s+(?:ROOT )?%(?P<name>[\w.\-]+) = (?P<type>.*?)"
  r" (?P<opcode>[a-z][\w\-]*)\((?P<rest>.*)"
)
_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%(?P<name>[\w.\-]+) .*\{$")
_CALLED = re.compile(
  r"\b(?:calls|to_apply|body|condition|true_computation|false_computation"
  r"|branch_computations)=(\{[^}]*\}|%[\w.\-]+)"
)
_NAME = re.compile(r"%([\w.\-]+)")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A line of a computation.

  Attributes:
    name: within its computation.
    type: of the result, "(f32[8,2]{1,0}, s32[])".
    opcode: "all-reduce-start".
    rest: operands and attributes, all behind the opening bracket.
  """

  name: str
  type: str
  opcode: str
  rest: str

  @property
  def operands(self) -> list[str]:
    """Names of the instructions whose results it takes."""
    return _NAME.findall(self.rest.partition("), ")[0])

  @property
  def called(self) -> list[str]:
    """Names of the computations that it runs."""
    return [
      name
      for names in _CALLED.findall(self.rest)
      for name in _NAME.findall(names)
    ]

  @property
  def trip_count(self) -> int | None:
    """How often a loop runs; None where the compiler does not know."""
    found = _TRIP_COUNT.search(self.rest)
    return int(found[1]) if found else None


Computation = Mapping[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program.

  Attributes:
    computations: instructions by name, of each computation by name.
    entry: name of the computation that begins.
  """

  computations: Mapping[str, Computation]
  entry: str


def parse(text: str) -> Program:
  """Reads the text of a whole program.

  Raises:
    ValueError: the text has no entry computation.
  """
  computations, entry = {}, None
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      current = computations[match["name"]] = {}
      entry = match["name"] if match["entry"] else entry
    elif match := _INSTRUCTION.match(line):
      current[match["name"]] = Instruction(**match.groupdict())
  if entry is None:
    raise ValueError("not the text of a compiled program: no ENTRY")
  return Program(computations, entry)
