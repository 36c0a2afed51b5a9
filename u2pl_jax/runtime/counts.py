"""Work of a program, counted from what it says: FLOPs and bytes.

Compilers count neither for all platforms, and none multiplies by the length of
loops.
"""

import collections
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from u2pl_jax.runtime import collectives, compiled_text

Flops = collections.Counter  # FLOPs by kind, see `flops`.

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
# JAX's operations that run a program once, with these parameters.
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def flops(jaxpr: core.ClosedJaxpr) -> Flops:
  """FLOPs of the matrix products and convolutions that results depend on.

  A product and its sum are two. Only taps of a convolution count that meet its
  input, not those in the padding or between its pixels. A loop counts as often
  as it runs, one of unknown length once; of branches the cheapest one counts.

  Args:
    jaxpr: of the whole, global program, `jitted.trace(...).jaxpr`.

  Returns:
    By the dtype of the operands, "bfloat16"; "float32, highest" where such
    precision is asked for.
  """
  found, _ = _count(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
  return found


def _count(jaxpr: core.Jaxpr, used: Sequence[bool]) -> tuple[Flops, list[bool]]:
  """FLOPs for the used results, and which arguments these depend on."""
  live = {var for var, use in zip(jaxpr.outvars, used) if use and _is_var(var)}
  total = Flops()
  for eqn in reversed(jaxpr.eqns):
    outs = [var in live for var in eqn.outvars]
    if not (any(outs) or eqn.effects):
      continue
    found, ins = _count_equation(eqn, outs)
    total += found
    live |= {v for v, use in zip(eqn.invars, ins) if use and _is_var(v)}
  return total, [var in live for var in jaxpr.invars]


def _is_var(atom: Any) -> bool:
  return not isinstance(atom, core.Literal)


def _count_equation(
  eqn: core.JaxprEqn, used: Sequence[bool]
) -> tuple[Flops, list[bool]]:
  """As `_count`, of one operation."""
  name, params = eqn.primitive.name, eqn.params
  everything = [True] * len(eqn.invars)
  if name == "dot_general":
    return Flops({_kind(eqn): _product_flops(eqn)}), everything
  if name == "conv_general_dilated":
    return Flops({_kind(eqn): _convolution_flops(eqn)}), everything
  if name == "cond":
    branches = [_count_all(branch) for branch in params["branches"]]
    return min(branches, key=Flops.total), everything
  if name == "scan":
    body, length = _count_all(params["jaxpr"]), params["length"]
    return Flops({k: v * length for k, v in body.items()}), everything
  if name == "while":
    parts = params["cond_jaxpr"], params["body_jaxpr"]
    return sum(map(_count_all, parts), Flops()), everything
  bodies = [_open(params[key]) for key in _BODIES if key in params]
  if len(bodies) == 1 and len(bodies[0].invars) == len(eqn.invars):
    return _count(bodies[0], used)
  return sum(map(_count_all, bodies), Flops()), everything


def _open(jaxpr: Any) -> core.Jaxpr:
  return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def _count_all(jaxpr: Any) -> Flops:
  body = _open(jaxpr)
  return _count(body, [True] * len(body.outvars))[0]


def _kind(eqn: core.JaxprEqn) -> str:
  dtype = str(np.result_type(*(var.aval.dtype for var in eqn.invars)))
  precision = eqn.params["precision"]
  highest = jax.lax.Precision.HIGHEST
  # Of smaller types each product is exact anyway.
  is_highest = dtype == "float32" and precision in (highest, (highest, highest))
  return f"{dtype}, highest" if is_highest else dtype


def _product_flops(eqn: core.JaxprEqn) -> int:
  (contracted, _), _ = eqn.params["dimension_numbers"]
  shape = eqn.invars[0].aval.shape
  depth = math.prod(shape[axis] for axis in contracted)
  return 2 * math.prod(eqn.outvars[0].aval.shape) * depth


def _convolution_flops(eqn: core.JaxprEqn) -> int:
  params = eqn.params
  lhs, rhs = (var.aval.shape for var in eqn.invars)
  out = eqn.outvars[0].aval.shape
  lhs_axes, rhs_axes, out_axes = params["dimension_numbers"]
  # Of output images and channels, and of input channels of a kernel.
  total = 2 * out[out_axes[0]] * out[out_axes[1]] * rhs[rhs_axes[1]]
  for axis in range(len(lhs) - 2):
    total *= _taps(
      lhs[lhs_axes[2 + axis]],
      rhs[rhs_axes[2 + axis]],
      out[out_axes[2 + axis]],
      stride=params["window_strides"][axis],
      before=params["padding"][axis][0],
      lhs_dilation=params["lhs_dilation"][axis],
      rhs_dilation=params["rhs_dilation"][axis],
    )
  return total


def _taps(
  size: int,
  taps: int,
  out: int,
  *,
  stride: int,
  before: int,
  lhs_dilation: int,
  rhs_dilation: int,
) -> int:
  """How many pairs of output pixel and tap meet an input pixel, on one axis."""
  place = stride * np.arange(out)[:, None] - before
  place = place + rhs_dilation * np.arange(taps)
  inside = (place >= 0) & (place <= (size - 1) * lhs_dilation)
  return int(np.sum(inside & (place % lhs_dilation == 0)))


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
