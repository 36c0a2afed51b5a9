"""How much the pixels of each class count in the supervised loss."""

from collections.abc import Callable, Sequence

import numpy as np

BALANCED = "balanced"
_KEY = "loss.class_weights"


def check(given: Sequence[float | str]) -> None:
  """Raises ValueError, one line, if they can be no weights.

  Args:
    given: as in the config.
  """
  words = [member for member in given if isinstance(member, str)]
  if words and tuple(given) != (BALANCED,):
    raise ValueError(
      f"{_KEY}={tuple(given)}: must be a number for each class, or {BALANCED}"
    )
  if given and not words and not any(given):
    raise ValueError(f"{_KEY}={tuple(given)}: one must be above 0")


def choose(
  given: Sequence[float | str],
  class_names: Sequence[str],
  count_pixels: Callable[[], np.ndarray] | None,
) -> np.ndarray | None:
  """The weight of each class.

  "balanced" weighs a class by n / (K n_c), where n_c of n labeled pixels are
  of it: all classes count alike then, and the mean weight of a pixel is 1.

  Args:
    given: a number for each class, ("balanced",), or () for none.
    class_names: of all K.
    count_pixels: returns the pixels of each class in the labeled set, [K]
      integers; None where there is no set.

  Returns:
    [K] float32; None where all pixels count alike.

  Raises:
    ValueError: there are not as many as classes, or a class has no pixels; one
      line.

  Reference: King and Zeng 2001; scikit-learn's `class_weight="balanced"`.
  """
  if not given:
    return None
  if tuple(given) == (BALANCED,):
    return _balance(class_names, count_pixels)
  if len(given) != len(class_names):
    raise ValueError(
      f"{_KEY} holds {len(given)} numbers, but there are {len(class_names)}"
      f" classes: {', '.join(class_names)}"
    )
  return np.asarray(given, np.float32)


def _balance(
  class_names: Sequence[str], count_pixels: Callable[[], np.ndarray] | None
) -> np.ndarray:
  if count_pixels is None:
    raise ValueError(f"{_KEY}={BALANCED}: there are no labeled images to count")
  counts = np.asarray(count_pixels(), np.float64)
  absent = [name for name, n in zip(class_names, counts, strict=True) if not n]
  if absent:
    raise ValueError(
      f"{_KEY}={BALANCED}: no labeled image of this split shows"
      f" {', '.join(absent)}; give a number for each class, or label one"
    )
  return (counts.sum() / (len(counts) * counts)).astype(np.float32)
