"""Compares trees of arrays by names, shapes and dtypes."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

PyTree = Any


def first_difference(
  held: PyTree, wanted: PyTree
) -> tuple[str, str, str] | None:
  """The first array, by its path, that two trees do not have alike.

  Args:
    held: nested dicts, or other containers, of anything with shape and dtype.
    wanted: what it should be.

  Returns:
    Its path, like "params/encoder/conv1/kernel", and what either tree has
    there, like "float32[3, 3]"; "missing" where `held` has nothing, "none"
    where `wanted` has. None if there is no such array.
  """
  ours, theirs = _describe(held), _describe(wanted)
  for path in sorted(ours.keys() | theirs.keys()):
    if ours.get(path) != theirs.get(path):
      return path, ours.get(path, "missing"), theirs.get(path, "none")
  return None


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict:
  """The entries of two nested dicts, no leaf of which is in both."""
  merged = dict(first)
  for name, value in second.items():
    merged[name] = merge(merged[name], value) if name in merged else value
  return merged


def _describe(tree: PyTree) -> dict[str, str]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): (
      f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
    )
    for path, leaf in leaves
  }
