"""Comparison of random draws with recorded statistics of other draws.

Everything agrees within four standard errors of the difference.
"""

from collections.abc import Mapping

import numpy as np

_STANDARD_ERRORS = 4


def assert_same_share(
  share: float, recorded: float, draws: int, recorded_draws: int
) -> None:
  """Asserts that two observed shares may be of one probability."""
  total = draws + recorded_draws
  pooled = (share * draws + recorded * recorded_draws) / total
  error = np.sqrt(pooled * (1 - pooled) * (1 / draws + 1 / recorded_draws))
  np.testing.assert_allclose(
    share, recorded, rtol=0, atol=_STANDARD_ERRORS * error + 1e-12
  )


def assert_same_distribution(
  values: np.ndarray, recorded: Mapping[str, float], recorded_draws: int
) -> None:
  """Asserts that values may be of the distribution that was described.

  Args:
    values: [draws] of our own.
    recorded: "mean", "std", "min", "max", and quantiles such as "q05".
    recorded_draws: that these describe.
  """
  draws = values.size
  fraction = 1 / draws + 1 / recorded_draws  # Of a variance of the difference.
  deviations = values - values.mean()
  variance = np.mean(deviations**2)
  of_square = np.mean(deviations**4) - variance**2
  reach = np.ptp(values)
  for name, expected in recorded.items():
    if name.startswith("q"):
      share = int(name.removeprefix("q")) / 100
      error = np.sqrt(share * (1 - share) * fraction)
      # Of few different values, many can be equal to the quantile.
      below = np.mean(values < expected - 1e-9)
      up_to = np.mean(values <= expected + 1e-9)
      assert below - _STANDARD_ERRORS * error <= share, name
      assert share <= up_to + _STANDARD_ERRORS * error, name
      continue
    actual, error = {
      "mean": (values.mean(), np.sqrt(variance * fraction)),
      "std": (values.std(), np.sqrt(of_square * fraction / variance) / 2),
      # Extremes of so many draws lie near the ends of what can be drawn.
      "min": (values.min(), 0.1 * reach / _STANDARD_ERRORS),
      "max": (values.max(), 0.1 * reach / _STANDARD_ERRORS),
    }[name]
    np.testing.assert_allclose(
      actual, expected, rtol=0, atol=_STANDARD_ERRORS * error, err_msg=name
    )
