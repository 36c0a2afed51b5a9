"""Exact two-way map between PyTorch state dicts and Flax variables.

State dicts are plain dictionaries from parameter names to numpy arrays;
PyTorch itself is not needed here. Names are those of the published code, whose
networks consist of `encoder`, `decoder` and, with the auxiliary head, `auxor`.
Each encoder and each decoder has the rules for its own modules, TORCH_RULES.
"""

import collections
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from u2pl_jax.models import decoders, encoders

_LEAVES = {
  ("params", "kernel"): "weight",
  ("params", "scale"): "weight",
  ("params", "bias"): "bias",
  ("batch_stats", "mean"): "running_mean",
  ("batch_stats", "var"): "running_var",
}
# Those that both sides call alike.
_SAME_LEAVES = (
  "cls_token",
  "pos_embed",
  "register_tokens",
  "mask_token",
  "gamma",
)
# PyTorch's BatchNorm counts its updates; nothing here depends on the count.
_COUNTER = "num_batches_tracked"
_MAX_LISTED = 20


@functools.cache
def _module_rules() -> tuple[tuple[str, str], ...]:
  """Flax module path -> PyTorch module name; the first match counts."""
  # Parameters of an encoder itself, such as tokens, belong to no submodule.
  of_encoders = (("encoder", "encoder"),) + tuple(
    (f"encoder/{pattern}", f"encoder.{replacement}")
    for module in encoders.torch_modules()
    for pattern, replacement in module.TORCH_RULES
  )
  of_decoders = (module.TORCH_RULES for module in decoders.torch_modules())
  return sum(of_decoders, of_encoders)


def torch_name(path: tuple[str, ...]) -> str:
  """Returns the PyTorch name of one variable.

  Args:
    path: collection, module names and leaf, for example ("params",
      "encoder", "layer1_0", "conv1", "kernel").

  Raises:
    ValueError: no rule of an encoder or decoder is for it.
  """
  module, leaf = "/".join(path[1:-1]), _LEAVES.get((path[0], path[-1]))
  if path[-1] in _SAME_LEAVES:
    leaf = path[-1]
  for pattern, replacement in _module_rules():
    match = re.fullmatch(pattern, module)
    if match and leaf:
      return f"{match.expand(replacement)}.{leaf}"
  raise ValueError(f"no PyTorch name is known for {'/'.join(path)}")


def _torch_axes(path: tuple[str, ...], ndim: int) -> tuple[int, ...]:
  """Axes of a variable in the order that PyTorch has them.

  [kh, kw, I, O] -> [O, I, kh, kw] of convolutions, depthwise and transposed
  ones too; [I, O] -> [O, I] of linear layers; all others as they are.
  """
  if path[-1] != "kernel":
    return tuple(range(ndim))
  return {4: (3, 2, 0, 1), 2: (1, 0)}[ndim]


def torch_shapes(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
  """PyTorch name -> shape of variables, arrays or `jax.ShapeDtypeStruct`s.

  Raises:
    ValueError: a variable has no PyTorch name.
  """
  return {
    torch_name(path): tuple(
      leaf.shape[axis] for axis in _torch_axes(path, len(leaf.shape))
    )
    for path, leaf in traverse_util.flatten_dict(variables).items()
  }


def to_torch(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Names and lays out Flax variables as the published code does.

  Args:
    variables: {"params", "batch_stats"}, nested dictionaries of arrays.

  Returns:
    PyTorch name -> numpy array (convs [O, I, kh, kw], linear layers [O, I]),
    with a zero int64 `num_batches_tracked` for each BatchNorm, so that PyTorch
    loads it strictly.

  Raises:
    ValueError: a variable has no PyTorch name.
  """
  state = {}
  for path, leaf in traverse_util.flatten_dict(variables).items():
    name, value = torch_name(path), np.asarray(leaf)
    axes = _torch_axes(path, value.ndim)
    state[name] = np.ascontiguousarray(value.transpose(axes))
    if path[-1] == "mean":
      counter = name.removesuffix("running_mean") + _COUNTER
      state[counter] = np.zeros((), np.int64)
  return state


def from_torch(
  state_dict: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> dict[str, Any]:
  """Lays out a PyTorch state dict as Flax variables.

  Args:
    state_dict: PyTorch name -> array. `num_batches_tracked` is not needed.
    variables: {"params", "batch_stats"} of the network to fill, arrays or
      `jax.ShapeDtypeStruct`s: every entry must have its counterpart in
      `state_dict`, and the other way round. To fill a part, such as the
      encoder, pass that part: {"params": {"encoder": ...}, ...}.

  Returns:
    Nested dictionaries like `variables`, of numpy arrays of its dtypes.

  Raises:
    ValueError: lists what `find_problems` finds.
  """
  problems = find_problems(state_dict, variables)
  if problems:
    raise ValueError(
      "the PyTorch weights do not fit the network; " + summarize(problems)
    )
  filled = {}
  for path, leaf in traverse_util.flatten_dict(variables).items():
    value = np.asarray(state_dict[torch_name(path)])
    value = value.transpose(np.argsort(_torch_axes(path, value.ndim)))
    filled[path] = np.array(value, dtype=leaf.dtype, order="C")
  return traverse_util.unflatten_dict(filled)


def find_problems(
  state_dict: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> list[str]:
  """Compares a PyTorch state dict with the network it shall fill.

  Args:
    state_dict: PyTorch name -> array.
    variables: as for `from_torch`.

  Returns:
    One "KIND: NAME ..." for each entry that is missing, extra, of the wrong
    shape, or holds anything but finite floats. The update counters of the
    network's own BatchNorms are never extra.
  """
  targets = torch_shapes(variables)
  counters = {
    name.removesuffix("running_mean") + _COUNTER
    for name in targets
    if name.endswith("running_mean")
  }
  problems = [f"missing: {n}" for n in targets if n not in state_dict]
  for name, value in state_dict.items():
    if name in targets:
      problems += _find_value_problems(name, np.asarray(value), targets[name])
    elif name not in counters:
      problems.append(f"extra: {name}")
  return problems


def _find_value_problems(
  name: str, value: np.ndarray, shape: tuple[int, ...]
) -> list[str]:
  if value.shape != shape:
    return [f"wrong shape: {name} is {value.shape}, not {shape}"]
  if not np.issubdtype(value.dtype, np.floating):
    return [f"no floats: {name} is {value.dtype}"]
  if not np.isfinite(value).all():
    return [f"not finite: {name}"]
  return []


def summarize(problems: Sequence[str]) -> str:
  """Joins problems to one line, with at most 20 of each kind by name."""
  kinds = collections.defaultdict(list)
  for problem in problems:
    kinds[problem.partition(":")[0]].append(problem)
  shown = []
  for kind, members in kinds.items():
    shown += members[:_MAX_LISTED]
    if len(members) > _MAX_LISTED:
      shown.append(f"... and {len(members) - _MAX_LISTED} more {kind}")
  count = len(problems)
  entries = "entry" if count == 1 else "entries"
  return f"{count} {entries}: " + "; ".join(shown)
