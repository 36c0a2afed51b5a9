"""The splits that a dataset gets where nobody has drawn any."""

import numpy as np

from data_prep import make_splits, split_order
from u2pl_jax.data import datasets

# The first of two that come to the same number of images is drawn.
_SHARES = {"1_8": 8, "1_4": 4, "1_2": 2, "1_16": 16}
_ALL = "all"


def draw(dataset: datasets.Dataset, seed: int = 0) -> None:
  """Draws splits of a dataset that was just written, and prints their table.

  These are 1_2, 1_4, 1_8 and 1_16 of the training images that have masks, as
  far as they differ, and `all` of them where other images have none. A split
  with the name of one that is there is left out. The caller holds
  `writer.preparation_lock`.

  Args:
    dataset: the dataset.
    seed: non-negative; fixes the draw, which is that of `make_splits`.

  Raises:
    OSError: the dataset cannot be read or written.
  """
  has_mask = np.array(dataset.has_label["train"], bool)
  presence = make_splits.read_presence(dataset)
  # A mask without a labeled pixel teaches nothing; its image serves unlabeled.
  masked = np.flatnonzero(has_mask & presence.any(axis=1))
  order, num_cover = split_order.order_masked(presence, masked, seed)
  counts, notes = count_images(len(masked), len(has_mask), num_cover)
  num_blank = int(has_mask.sum()) - len(masked)
  if num_blank:
    notes.append(f"{num_blank} masks without a labeled pixel are not labeled")
  existing = datasets.list_splits(dataset)
  lists = {
    split: make_splits.to_lists(dataset.ids["train"], order[: counts[split]])
    for split in counts
    if split not in existing
  }
  make_splits.write_splits(dataset, lists)
  if lists:
    print(make_splits.format_table(dataset, presence, lists))
  for note in notes:
    print(note)


def count_images(
  num_masked: int, num_images: int, num_cover: int
) -> tuple[dict[str, int], list[str]]:
  """Returns how many labeled images each split has, and remarks.

  Args:
    num_masked: training images with masks.
    num_images: all training images.
    num_cover: the least number of images that show every class.
  """
  most = min(num_masked, num_images - 1)  # One has to be unlabeled.
  if most < 1:
    return {}, [
      f"no splits: {num_masked} of {num_images} training images have masks, "
      "and a split takes one with and one without; add images, or "
      "--unlabeled=FOLDER"
    ]
  counts, notes = {}, []
  for split, share in _SHARES.items():
    rounded = max(1, (2 * num_masked + share) // (2 * share))
    count = min(max(rounded, num_cover), most)
    if count in counts.values():
      continue
    counts[split] = count
    images = f"{split}: {count} images"
    if count < num_cover:
      notes.append(
        f"{images}, all but one; {num_cover} are needed to show every class"
      )
    elif count > rounded:
      notes.append(f"{images}, the least that show every class")
  counts = dict(sorted(counts.items(), key=lambda item: -item[1]))
  if num_masked < num_images:
    counts[_ALL] = num_masked
  return counts, notes
