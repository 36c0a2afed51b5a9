"""Reads trees whose images are listed by ids, as PASCAL VOC's are."""

import pathlib
from collections.abc import Sequence

from data_prep.layouts import checks, endings, files, id_lists, tree, words
from u2pl_jax.data import datasets

IMAGES, MASKS = "JPEGImages", "SegmentationClass"


def find_folder(
  listing: files.Listing, kind: str, given: str, usual: str
) -> pathlib.Path:
  """Finds the folder of all images, or of all masks.

  Args:
    listing: the tree.
    kind: `words.IMAGE` or `words.MASK`.
    given: what the user says; empty for what is there.
    usual: its usual name; returned where no folder has a fitting name.

  Raises:
    ValueError: several may be meant.
  """
  root = listing.root
  if given or (root / usual).is_dir():
    return root / (given or usual)
  found = []
  for folder in files.list_folders(root):
    meaning = words.read(folder.name)
    if meaning and meaning.kind == kind and not meaning.part:
      found.append(folder)
  if len(found) > 1:
    names = "|".join(folder.name for folder in found)
    raise ValueError(
      f"{root}: several folders may hold the {kind}s; give --{kind}s={names}"
    )
  return found[0] if found else root / usual


def read_tree(
  listing: files.Listing,
  options: tree.Options,
  title: str,
  masks_folder: pathlib.Path | None = None,
) -> tree.Tree:
  """Reads the lists of a tree and finds its files.

  Raises:
    FileNotFoundError: a list or folder is missing.
    ValueError: a list is not text, or several folders may be meant.
  """
  root = listing.root
  images_folder = find_folder(listing, words.IMAGE, options.images, IMAGES)
  masks_folder = masks_folder or find_folder(
    listing, words.MASK, options.masks, MASKS
  )
  images = files.index(images_folder, endings.IMAGES)
  if not images:
    raise ValueError(f"{images_folder}: there are no images at all")
  masks = files.index(masks_folder, endings.MASKS)
  lists = id_lists.find(listing, options)
  ids, val, split_lists = _read_lists(lists)
  if not lists.train and val is None:
    # Then splits leave some to validate on.
    ids = sorted(images)
  names = list(lists.train) or [
    f for pair in lists.splits.values() for f in pair
  ]
  where = " and ".join(map(str, names))
  problems = checks.find_list_problems(ids, names, val or [], lists.val)
  problems += checks.find_split_problems(
    split_lists,
    lists.splits,
    known=frozenset(ids),
    with_mask={i for i in ids if files.key(i) in masks},
  )
  problems += checks.find_file_problems(
    ids, where, images, masks, needs_mask=False
  )
  problems += checks.find_file_problems(
    val or [], lists.val, images, masks, needs_mask=True
  )
  problems += checks.find_mask_problems(masks_folder, images, masks, options)
  return tree.Tree(
    title=title,
    train=_to_entries(ids, images, masks),
    val=None if val is None else _to_entries(val, images, masks),
    class_folders=(root,),
    split_lists=split_lists,
    problems=problems,
    notes=_note_left_out(images, {*ids, *(val or ())}, lists),
  )


def _read_lists(
  lists: id_lists.Lists,
) -> tuple[list[str], list[str] | None, dict[str, tuple[list[str], list[str]]]]:
  """Returns the training ids, validation ids, and those of each split."""
  train = [i for file in lists.train for i in datasets.read_id_list(file)]
  val = None if lists.val is None else datasets.read_id_list(lists.val)
  splits = {
    split: tuple(datasets.read_id_list(file) for file in pair)
    for split, pair in lists.splits.items()
  }
  if not lists.train:
    ids = (i for pair in splits.values() for part in pair for i in part)
    train = list(dict.fromkeys(ids))
  return train, val, splits


def _to_entries(
  ids: Sequence[str], images: checks.Index, masks: checks.Index
) -> list[tree.Entry]:
  """Pairs images with masks; ids without an image are left out."""
  return [
    tree.Entry(i, images[key][0], masks[key][0] if key in masks else None)
    for i in ids
    if (key := files.key(i)) in images
  ]


def _note_left_out(
  images: checks.Index, listed: set[str], lists: id_lists.Lists
) -> list[str]:
  listed = {files.key(i) for i in listed}
  test = []
  if lists.test and lists.test.is_file():
    test = [i for i in datasets.read_id_list(lists.test) if i not in listed]
  notes = []
  if test:
    notes.append(f"left out: the {len(test)} images of {lists.test}")
  rest = len(images.keys() - listed - {files.key(i) for i in test})
  if rest:
    notes.append(f"left out: {rest} images that no list names")
  return notes
