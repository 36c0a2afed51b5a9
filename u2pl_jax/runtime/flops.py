"""FLOPs of a program, counted from its jaxpr.

Compilers do not count them for all platforms, and none multiplies by the length
of loops.
"""

import collections
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

Flops = collections.Counter  # FLOPs by kind, see `count_jaxpr`.

# JAX's operations that run a program once, with these parameters.
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def count(function: Any, *arguments: Any) -> int:
  """FLOPs of one call, of all kinds together; see `count_jaxpr`.

  Args:
    function: to be traced.
    *arguments: arrays or `jax.ShapeDtypeStruct`s, nested.
  """
  return count_jaxpr(jax.make_jaxpr(function)(*arguments)).total()


def count_jaxpr(jaxpr: core.ClosedJaxpr) -> Flops:
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
