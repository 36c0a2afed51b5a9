"""How figures of several seeds are told."""

import statistics
from collections.abc import Sequence


def format_mean(values: Sequence[float]) -> str:
  """Mean ± standard deviation with one digit; of one value itself."""
  mean = f"{statistics.fmean(values):.1f}"
  if len(values) < 2:
    return mean
  return f"{mean} ± {statistics.stdev(values):.1f}"
