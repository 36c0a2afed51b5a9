"""Splits of a dataset that is prepared anew: which of them still fit it."""

import pathlib
from collections.abc import Mapping, Sequence

from u2pl_jax.data import datasets

_LISTS = ("labeled.txt", "unlabeled.txt")

Lists = tuple[Sequence[str], Sequence[str]]


def find(
  folder: pathlib.Path,
  new: Mapping[str, Lists],
  *,
  ids: Sequence[str],
  has_label: Sequence[bool],
) -> tuple[dict[str, Lists], list[str]]:
  """Reads the splits of the old dataset that the new one can keep.

  Training images that are new to the dataset go into neither of their lists.

  Args:
    folder: the old dataset's folder of splits; may be missing.
    new: (labeled, unlabeled) ids of the splits that the new dataset brings.
    ids: its training images.
    has_label: which of those have masks.

  Returns:
    (labeled, unlabeled) ids, by split, and a line about each split that was
    kept, replaced or left out.
  """
  kept, notes = {}, []
  with_mask = {i for i, has in zip(ids, has_label, strict=True) if has}
  for path in datasets.find_split_folders(folder):
    split = path.name
    try:
      lists = tuple(datasets.read_id_list(path / name) for name in _LISTS)
      problems = datasets.find_split_problems(
        *lists,
        files=tuple(f"{split}/{name}" for name in _LISTS),
        known=frozenset(ids),
        with_mask=with_mask,
      )
    except (OSError, ValueError) as error:
      problems = [str(error)]
    if split in new:
      if problems or _as_sets(lists) != _as_sets(new[split]):
        notes.append(f"split {split}: replaced by the source's, which differs")
    elif problems:
      more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
      notes.append(
        f"split {split}: not kept, does not fit any more ({problems[0]}{more})"
      )
    else:
      kept[split] = lists
      notes.append(f"split {split}: kept")
  return kept, notes


def _as_sets(lists: Lists) -> tuple[frozenset[str], ...]:
  return tuple(map(frozenset, lists))
