"""Counts steps with NaN or Inf, which are not applied, and ends hopeless runs.

The compiled step leaves the state as it is where a loss or the gradient is not
finite; here the host learns of it, from the metrics.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

Record = dict[str, Any]

_WATCHED = ("loss/", "grad/")


def _to_json(value: float) -> float | str:
  """A number that JSON can hold, or "nan", "inf" or "-inf"."""
  return float(value) if math.isfinite(value) else repr(float(value))


class BadSteps:
  """The bad steps in a row up to now."""

  def __init__(self, max_in_a_row: int, records: Sequence[Record] = ()):
    """Starts with the `records` of the run so far.

    Args:
      max_in_a_row: so many end the run, >= 1.
      records: see the attribute of that name.
    """
    self._max_in_a_row = max_in_a_row
    self._records = list(records)

  @property
  def records(self) -> list[Record]:
    """{"step", "metrics"} of each bad step since the last good one.

    JSON-able; the metrics are all losses and the gradient's norm.
    """
    return list(self._records)

  def check(
    self, step: int, metrics: Mapping[str, jax.Array | np.ndarray]
  ) -> str | None:
    """Counts a step, in the order of steps.

    Args:
      step: 1 for the first update.
      metrics: of this update, on the host.

    Returns:
      What to say of a bad step; None for a good one.

    Raises:
      FloatingPointError: this is the last bad one allowed in a row; the
        message names the step and the term.
    """
    values = {
      name: float(value)
      for name, value in metrics.items()
      if name.startswith(_WATCHED)
    }
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad:
      self._records.clear()
      return None
    self._records.append(
      {"step": step, "metrics": {n: _to_json(v) for n, v in values.items()}}
    )
    # The total says nothing where one of its terms does.
    terms = [name for name in bad if name != "loss/total"] or bad
    named = ", ".join(f"{name} is {values[name]}" for name in terms)
    count, limit = len(self._records), self._max_in_a_row
    if count >= limit:
      raise FloatingPointError(
        f"step {step}: {named}, as in {count} steps in a row, none of which"
        f" was applied (train.max_bad_steps={limit})"
      )
    return (
      f"step {step}: {named}; step not applied ({count} in a row, stops at"
      f" {limit})"
    )
