"""Draws validation images where nothing in a folder says which they are."""

import dataclasses
import fractions

import numpy as np

from data_prep import class_table, folder_classes, split_order
from data_prep.layouts import tree


def draw(
  found: tree.Tree, table: class_table.ClassTable, amount: str, seed: int
) -> tree.Tree:
  """Takes validation images from the training images with masks.

  Images that a semi-supervised split of the tree names stay there.

  Args:
    found: a tree without validation images.
    table: its classes.
    amount: "0.1" or "1/10", a share of the images with masks, or a number.
    seed: non-negative; fixes the draw.

  Raises:
    ValueError: there are too few images, or `amount` is unusable.
  """
  kept = {i for pair in found.split_lists.values() for ids in pair for i in ids}
  candidates = [e for e in found.train if e.has_mask and e.id not in kept]
  count = count_images(amount, len(candidates), may_be_all=bool(kept))
  if found.problems:  # Then nothing is written; but all files are checked.
    return dataclasses.replace(found, val=())
  if kept and not candidates:
    raise ValueError(
      "no list names validation images, and the splits name all images that "
      "have masks: add val.txt"
    )
  if not kept and len(candidates) < 2:
    raise ValueError(
      f"{len(candidates)} images have masks; 2 are needed at least, one to "
      "train on and one to validate on"
    )
  if count == len(candidates):
    drawn = set(range(count))
  else:
    presence = folder_classes.read_presence(candidates, table)
    # A mask without a labeled pixel measures nothing.
    shown = np.flatnonzero(presence.any(axis=1))
    if not len(shown):  # Checking them for the dataset says why.
      return dataclasses.replace(found, val=())
    count = min(count, max(1, len(shown) - (not kept)))
    chosen = split_order.draw_validation(presence[shown], count, seed)
    drawn = set(shown[chosen].tolist())
  val = [entry for i, entry in enumerate(candidates) if i in drawn]
  ids = {entry.id for entry in val}
  print(
    f"  drawn to validate on: {count} of {len(candidates)} images with masks, "
    f"since no list says which (--val={amount} --seed={seed})"
  )
  train = [entry for entry in found.train if entry.id not in ids]
  return dataclasses.replace(found, train=train, val=val)


def count_images(amount: str, total: int, *, may_be_all: bool = False) -> int:
  """Returns how many of `total` images to validate on, at least one.

  Args:
    amount: see `draw`.
    total: the images with masks.
    may_be_all: whether none of them needs to be left to train on.

  Raises:
    ValueError: the amount is neither a share in (0, 1) nor a number of images
      that leaves one.
  """
  most = max(1, total if may_be_all else total - 1)
  is_share = "." in amount or "/" in amount
  try:
    number = fractions.Fraction(amount)
  except (ValueError, ZeroDivisionError):
    number = fractions.Fraction(0)
  if not 0 < number <= most or (is_share and number >= 1):
    raise ValueError(
      f"--val={amount}: must be a share like 0.1 or 1/10, or a number of "
      f"images, 1 to {most}"
    )
  if is_share:
    number = (number * total + fractions.Fraction(1, 2)).__floor__()
  return max(1, min(most, int(number)))
