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


def order_masked(
  presence: np.ndarray, masked: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
  """Orders images with masks; those that show no class come last.

  Args:
    presence: [n, K] bool, the classes that each training image shows.
    masked: [m] int64, the images that have masks.
    seed: see `draw_order`.

  Returns:
    [m] int64, and how many of the first of these show every class.
  """
  order, num_cover = draw_order(presence[masked], seed)
  order = masked[order]
  is_blank = ~presence[order].any(axis=1)
  return order[np.argsort(is_blank, kind="stable")], num_cover


def draw_validation(presence: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Draws images to validate on; those that are left show all classes.

  The first images of `draw_order`, which show every class, are kept to train
  on, unless no others are there. Of the others those come first that show a
  class that is not yet among the validation images.

  Args:
    presence: [n, K] bool, the classes that each image shows.
    count: how many to draw, in [1, n - 1].
    seed: non-negative; fixes the draw.

  Returns:
    [count] int64, sorted.
  """
  order, num_cover = draw_order(presence, seed)
  rest = list(order[num_cover:])
  # A rare class that only they show is lost to training in very small data.
  rest += list(order[:num_cover][::-1])
  candidates = rest[: max(count, len(order) - num_cover)]
  shown = np.zeros(presence.shape[1], bool)
  drawn = []
  while len(drawn) < count:
    gains = (presence[candidates] & ~shown).sum(axis=1)
    if not gains.any():
      break
    drawn.append(candidates.pop(int(np.argmax(gains))))
    shown |= presence[drawn[-1]]
  drawn += candidates[: count - len(drawn)]
  return np.sort(np.array(drawn, np.int64))
