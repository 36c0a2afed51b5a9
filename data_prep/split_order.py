"""The order in which images are labeled; see `make_splits`."""

import numpy as np
from scipy import optimize

# Keeps these random numbers apart from those of a training run of that seed.
_PHILOX_KEY = int.from_bytes(b"splits")
# VOC's smallest cover is found, and proven, before the search branches.
_MAX_NODES = 50


def draw_order(presence: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
  """Orders images so that any number of the first show all classes, if it can.

  Args:
    presence: [n, K] bool, the classes that each image shows.
    seed: non-negative; fixes the order.

  Returns:
    The order, int64 [n], and how many of its first images show every class
    that occurs at all. No fewer images would, except that the search for them
    is cut short where it gets long, as it may with a hundred classes.
  """
  # Philox's bits, unlike shuffles, are the same in every release of numpy.
  key = np.array([seed, _PHILOX_KEY], np.uint64)
  bits = np.random.Philox(key=key).random_raw(len(presence))
  order = np.argsort(bits, kind="stable")
  patterns, first = np.unique(presence[order], axis=0, return_index=True)
  patterns = patterns[:, patterns.any(axis=0)]
  num_classes = patterns.shape[1]
  if not num_classes:
    return order, 0
  # Early places win among smallest covers: extra costs add up to less than 1.
  cost = 1 + first / (len(order) * (num_classes + 1))
  solution = optimize.milp(
    cost,
    constraints=optimize.LinearConstraint(patterns.T.astype(float), lb=1),
    integrality=np.ones_like(cost),
    bounds=optimize.Bounds(0, 1),
    options={"mip_rel_gap": 0.0, "node_limit": _MAX_NODES},
  )
  if solution.x is None:
    raise ValueError(f"no smallest set of images found: {solution.message}")
  cover = np.sort(first[solution.x > 0.5])
  rest = np.delete(np.arange(len(order)), cover)
  return order[np.concatenate([cover, rest])], len(cover)
