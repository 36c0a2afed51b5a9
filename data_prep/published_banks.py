"""What published checkpoints of AEL hold beside networks.

`class_criterion` [3, K], of which row 0 is how sure the student is of each
class, and `cutmix_bank` [K, N_u], which unlabeled image showed which class. The
bank's columns are in the order in which the published code shuffled its list:
`random.seed(seed); random.sample(list, len(list))`.

Reference: branch with_AEL, `train_semi.py`; algorithm section 5.8.
"""

import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from u2pl_jax.models import pretrained

_CONFIDENCE, _PRESENT = "class_criterion", "cutmix_bank"


def read_banks(
  content: Any, unlabeled: str | None, seed: int
) -> dict[str, np.ndarray]:
  """Arrays for `Method.adopt`, by their names in an .npz file.

  Args:
    content: of a PyTorch file.
    unlabeled: the list of unlabeled images that it was trained with, one a
      line; None where it is not known, which leaves the bank out.
    seed: with which that list was shuffled.

  Raises:
    OSError: the list cannot be read.
    ValueError: the list is not that of the checkpoint, or it has no bank.
  """
  held = content if isinstance(content, Mapping) else {}
  arrays = {}
  if _CONFIDENCE in held:
    arrays["confidence"] = _to_numpy(held[_CONFIDENCE])[0].astype(np.float32)
  if unlabeled is not None:
    if _PRESENT not in held:
      raise ValueError(
        f"--unlabeled={unlabeled}: the checkpoint holds no {_PRESENT}"
      )
    lines = pathlib.Path(unlabeled).read_text().split("\n")
    images = [line.strip() for line in lines if line.strip()]
    arrays["present"] = _in_order(
      _to_numpy(held[_PRESENT]) > 0, images, unlabeled, seed
    )
  return {f"{pretrained.MEMORY}{n}": array for n, array in arrays.items()}


def _in_order(
  present: np.ndarray, images: Sequence[str], unlabeled: str, seed: int
) -> np.ndarray:
  """The bank [K, N_u] with its columns in the order of the list."""
  if present.shape[1] != len(images):
    raise ValueError(
      f"--unlabeled={unlabeled} names {len(images)} images, but {_PRESENT} is"
      f" of {present.shape[1]}: the checkpoint was trained with another list"
    )
  # In Python's own generator, as there; the places of the columns in the list.
  places = random.Random(seed).sample(range(len(images)), len(images))
  ordered = np.empty_like(present)
  ordered[:, places] = present
  return ordered


def _to_numpy(array: Any) -> np.ndarray:
  """A tensor's values, wherever it was."""
  return np.asarray(array.detach().float().cpu())
