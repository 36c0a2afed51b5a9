"""In which order unlabeled images are worth being labeled.

The next image is always the one with the largest

  u(x)^a d(x)^b,    d(x) = min over all images y chosen so far |f(x) - f(y)|,

where u is the mean entropy of its pixels, as a share of log K, and f its pooled
features, of length 1; chosen are the labeled images, then those ranked before.

With a = 0, b = 1 this is the greedy k-center of Sener and Savarese, Active
Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018,
algorithm 1. With weights, a = b = 1, it is the heuristic of Dyer and Frieze, A
simple heuristic for the p-centre problem, Operations Research Letters 3, 1985,
for centers that are the more needed the larger the weight: an image comes early
that is unsure and unlike all that is known. There is nothing to be tuned, since
the unit of neither factor matters to the order. With a = 1, b = 0 the unsurest
images come first.
"""

import dataclasses

import numpy as np

from u2pl_jax.predict import findings, photographs

# By name, whether u and d count.
KINDS = {
  "entropy_diversity": (True, True),
  "entropy": (True, False),
  "diversity": (False, True),
}
FARTHEST = 2.0  # Of two vectors of length 1.


@dataclasses.dataclass(frozen=True)
class Ranking:
  """An order of n images.

  Attributes:
    order: [n] int64, the images from the first rank on.
    unlike: [n] float64 in [0, 2], by image: d when it was ranked; `FARTHEST`
      where nothing was chosen before.
  """

  order: np.ndarray
  unlike: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ranked:
  """An image in such an order.

  Attributes:
    image: the file of the image.
    finding: what the network found in it.
    unlike: see `Ranking`.
  """

  image: photographs.Photograph
  finding: findings.Finding
  unlike: float

  @property
  def file(self) -> str:
    """The path of the image within the folder that was searched."""
    ending = self.image.path.suffix
    return self.image.name.removesuffix(ending) + ending


def rank(
  uncertainty: np.ndarray,
  features: np.ndarray,
  labeled: np.ndarray,
  *,
  kind: str = "entropy_diversity",
  num_greedy: int | None = None,
) -> Ranking:
  """Ranks images by the formula above; the first of equals comes first.

  Args:
    uncertainty: [n] float, u, not negative.
    features: [n, C] float, f, of length 1; may be mapped from a file.
    labeled: [m, C], those of the labeled images; m may be 0.
    kind: one of `KINDS`.
    num_greedy: after so many ranks, of which each takes a look at all images,
      the others follow by what the formula says at that moment; None for n.
  """
  uses_entropy, uses_distance = KINDS[kind]
  count = len(uncertainty)
  weights = np.asarray(uncertainty, float) if uses_entropy else np.ones(count)
  unlike = np.full(count, FARTHEST)
  for center in labeled:
    unlike = np.minimum(unlike, _distances(features, center))

  def score():
    return weights * unlike if uses_distance else weights

  is_open = np.ones(count, bool)
  order = []
  for _ in range(count if num_greedy is None else min(num_greedy, count)):
    chosen = int(np.argmax(np.where(is_open, score(), -1)))
    order.append(chosen)
    is_open[chosen] = False
    distances = _distances(features, features[chosen])
    unlike[is_open] = np.minimum(unlike, distances)[is_open]
  rest = np.flatnonzero(is_open)
  rest = rest[np.argsort(-score()[rest], kind="stable")]
  order = np.array([*order, *rest], np.int64)
  return Ranking(order, unlike)


def _distances(features: np.ndarray, center: np.ndarray) -> np.ndarray:
  """[n] float64; of vectors of length 1, |a - b|^2 = 2 - 2 a b."""
  products = np.asarray(features @ center, float)
  return np.sqrt(np.maximum(2 - 2 * products, 0))
