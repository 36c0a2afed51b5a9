"""Floating-point operations of a function, counted from its jaxpr.

Convolutions and matrix products alone, a multiplication and an addition being
two; zeros that a strided convolution's gradient inserts are not counted, zeros
of the padding are. The count knows no compiler and no device.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax


def count(function: Any, *arguments: Any) -> int:
  """Of one call.

  What no result needs is left out. A loop of unknown length counts once, of
  the branches of a condition the costliest.

  Args:
    function: to be traced.
    *arguments: arrays or `jax.ShapeDtypeStruct`s, nested.
  """
  jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
  return _count(jaxpr, [True] * len(jaxpr.outvars))[0]


def _count(jaxpr: Any, wanted: list[bool]) -> tuple[int, list[bool]]:
  """Operations for the wanted results, and which arguments these need."""
  needed = {
    var
    for var, is_wanted in zip(jaxpr.outvars, wanted, strict=True)
    if is_wanted and _is_variable(var)
  }
  total = 0
  for eqn in reversed(jaxpr.eqns):
    of_results = [var in needed for var in eqn.outvars]
    if not any(of_results) and not eqn.effects:
      continue
    flops, of_arguments = _count_equation(eqn, of_results)
    total += flops
    needed.update(
      var
      for var, is_needed in zip(eqn.invars, of_arguments, strict=True)
      if is_needed and _is_variable(var)
    )
  return total, [var in needed for var in jaxpr.invars]


def _is_variable(var: Any) -> bool:
  return not hasattr(var, "val")  # Literals have a value.


def _count_equation(eqn: Any, wanted: list[bool]) -> tuple[int, list[bool]]:
  """As `_count`, of one equation."""
  everything = [True] * len(eqn.invars)
  name = eqn.primitive.name
  if name == "dot_general":
    return _count_product(eqn), everything
  if name == "conv_general_dilated":
    return _count_convolution(eqn), everything
  inner = list(_jaxprs(eqn.params))
  if name in ("jit", "pjit", "remat2", "checkpoint") and len(inner) == 1:
    if len(inner[0].invars) == len(eqn.invars):
      return _count(inner[0], wanted)
  counts = [_count(each, [True] * len(each.outvars))[0] for each in inner]
  if name == "cond":
    return max(counts), everything
  return sum(counts) * eqn.params.get("length", 1), everything


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
  """All jaxprs among an equation's parameters, without their constants."""
  for value in params.values():
    for each in value if isinstance(value, tuple | list) else (value,):
      each = getattr(each, "jaxpr", each)
      if hasattr(each, "eqns"):
        yield each


def _count_product(eqn: Any) -> int:
  (contracted, _), _ = eqn.params["dimension_numbers"]
  left = eqn.invars[0].aval.shape
  summed = math.prod(left[axis] for axis in contracted)
  return 2 * math.prod(eqn.outvars[0].aval.shape) * summed


def _count_convolution(eqn: Any) -> int:
  kernel = eqn.invars[1].aval.shape
  features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
  each = math.prod(kernel) // features
  inserted = math.prod(eqn.params["lhs_dilation"])
  return 2 * math.prod(eqn.outvars[0].aval.shape) * each // inserted
