"""Programs as plain operations, for converters to other formats.

A converter knows operations. What lies around them in JAX it may not know:
calls, rules for gradients, forms for single platforms. Nor can it be trusted
with functions of JAX and Flax that it replaces by its own ones while it traces,
as these may drop an argument, such as the padding of a pooling. A flat program
was traced before, and has none of this.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

# Operations that run a program once, and the parameter that holds it. Of
# functions with a rule for their gradient it is the function itself.
_CALLS = {
  "checkpoint": "jaxpr",
  "closed_call": "call_jaxpr",
  "custom_jvp_call": "call_jaxpr",
  "custom_vjp_call": "call_jaxpr",
  "jit": "jaxpr",
  "pjit": "jaxpr",
}

# A function of the inputs of an operation, with its parameters as keywords,
# that returns its only result, or NotImplemented to leave it as it is.
Replacement = Callable[..., Any]


def flatten(
  function: Callable[..., Any],
  *arguments: Any,
  replace: Mapping[str, Replacement] | None = None,
) -> Callable[..., Any]:
  """A function that binds the operations of another one, and does no more.

  Where platforms have forms of their own (`jax.lax.platform_dependent`), it has
  the one for all others. What no result depends on is left out.

  Args:
    function: of arrays; called once, to trace it.
    *arguments: arrays or `jax.ShapeDtypeStruct`s; dimensions may be symbols.
    replace: what is called instead of operations, by their names.

  Returns:
    A function of arrays of the same shapes and dtypes, which may be traced.
    Symbols in these must be those of `arguments`. It raises ValueError if there
    is no form for other platforms.
  """
  program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
  structure = jax.tree.structure(shapes)
  interpreter = _Interpreter(replace or {})

  def run(*arrays):
    leaves = jax.tree.leaves(arrays)
    return jax.tree.unflatten(structure, interpreter.run(program, leaves))

  return run


@dataclasses.dataclass(frozen=True)
class _Interpreter:
  """Binds the operations of programs, one after the other."""

  replace: Mapping[str, Replacement]

  def run(
    self, program: core.ClosedJaxpr | core.Jaxpr, arguments: Sequence[Any]
  ) -> list[Any]:
    """The results of a program."""
    jaxpr, constants = program, ()
    if isinstance(program, core.ClosedJaxpr):
      jaxpr, constants = program.jaxpr, program.consts
    names = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(names, [*constants, *arguments], strict=True))

    def read(atom):
      return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in _needed(jaxpr):
      results = self._apply(equation, [read(atom) for atom in equation.invars])
      values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]

  def _apply(
    self, equation: core.JaxprEqn, inputs: Sequence[Any]
  ) -> Sequence[Any]:
    """The results of an operation."""
    name, params = equation.primitive.name, equation.params
    if name == "platform_index":
      return [None]  # Read by the choice among forms alone.
    if params.get("branches_platforms") is not None:
      return self.run(_other_form(params), inputs[1:])
    if name in _CALLS:
      return self.run(params[_CALLS[name]], inputs)
    if name in self.replace:
      result = self.replace[name](*inputs, **params)
      if result is not NotImplemented:
        return [result]
    results = equation.primitive.bind(*inputs, **params)
    return results if equation.primitive.multiple_results else [results]


def _needed(jaxpr: core.Jaxpr) -> list[core.JaxprEqn]:
  """The operations that a result depends on, in their order."""
  wanted, found = set(_variables(jaxpr.outvars)), []
  for equation in reversed(jaxpr.eqns):
    if wanted.intersection(equation.outvars):
      wanted.update(_variables(equation.invars))
      found.append(equation)
  return found[::-1]


def _variables(atoms: Sequence[Any]) -> list[core.Var]:
  return [atom for atom in atoms if not isinstance(atom, core.Literal)]


def _other_form(params: Mapping[str, Any]) -> core.ClosedJaxpr:
  """The form for platforms that have none of their own."""
  forms = zip(params["branches_platforms"], params["branches"], strict=True)
  for platforms, form in forms:
    if platforms is None:
      return form
  raise ValueError(
    "a part of the program has a form for each of some platforms, and none for"
    " all others"
  )
