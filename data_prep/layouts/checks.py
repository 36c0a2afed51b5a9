"""What can be wrong with the files of a tree, one line each."""

import os
import pathlib
from collections.abc import Collection, Mapping, Sequence

from data_prep.layouts import endings, files, tree
from u2pl_jax.data import datasets

Index = Mapping[str, Sequence[pathlib.Path]]


def find_list_problems(
  train: Sequence[str],
  train_files: Sequence[pathlib.Path],
  val: Sequence[str],
  val_file: pathlib.Path | None,
) -> list[str]:
  """Of ids in the two lists: none, twice, in both."""
  problems = []
  where = " and ".join(map(str, train_files))
  for ids, file in ((train, where), (val, val_file)):
    if not file:
      continue
    if not ids:
      problems.append(f"{file}: the list is empty")
    problems += datasets.find_duplicates(ids, file)
  training = frozenset(train)
  problems += [
    f"id {i!r} is both in {where} and in {val_file}"
    for i in dict.fromkeys(val)
    if i in training
  ]
  return problems


def find_file_problems(
  ids: Sequence[str],
  file: object,
  images: Index,
  masks: Index,
  *,
  needs_mask: bool,
) -> list[str]:
  """Of each id without exactly one image, or without a mask.

  Args:
    ids: what a list names.
    file: the list.
    images: images, by key.
    masks: masks, by key.
    needs_mask: whether each image must have one.
  """
  problems = []
  for example_id in dict.fromkeys(ids):
    key = files.key(example_id)
    found = images.get(key, [])
    if not found:
      problems.append(f"{file}: id {example_id!r} has no image")
    elif len(found) > 1:
      names = " and ".join(map(str, found))
      problems.append(f"{file}: id {example_id!r} has several images: {names}")
    if needs_mask and key not in masks:
      problems.append(f"{file}: id {example_id!r} has no mask")
  return problems


def find_mask_problems(
  folder: pathlib.Path,
  images: Index,
  masks: Index,
  options: tree.Options,
) -> list[str]:
  """Of masks that match no image, several of one, and of an unread ending.

  Args:
    folder: of the masks.
    images: images, by key.
    masks: masks, by the keys of their images.
    options: says whether masks may match no image.
  """
  problems = []
  for key, found in masks.items():
    if len(found) > 1:
      names = " and ".join(map(str, found))
      problems.append(f"{names}: several masks of one image")
    if key not in images and not options.allow_unmatched:
      problems.append(unmatched(found[0]))
  for name in files.list_files(folder):
    stem, ending = files.split_ending(name)
    if ending not in endings.MASKS + endings.NOTES:
      if files.key(stem) in images and files.key(stem) not in masks:
        problems.append(unread_ending(folder / name))
  return problems


def unmatched(mask: str | os.PathLike) -> str:
  return (
    f"{mask}: a mask that matches no image; correct its name, or give "
    "--allow_unmatched to leave such masks out"
  )


def unread_ending(mask: str | os.PathLike) -> str:
  return (
    f"{mask}: masks are read from {' or '.join(endings.MASKS)}, not from "
    f"{os.path.splitext(mask)[1]}"
  )


def find_split_problems(
  lists: Mapping[str, tuple[Sequence[str], Sequence[str]]],
  split_files: Mapping[str, tuple[pathlib.Path, pathlib.Path]],
  known: Collection[str],
  with_mask: Collection[str],
) -> list[str]:
  """Of semi-supervised splits; see `datasets.find_split_problems`."""
  problems = []
  for split, (labeled, unlabeled) in lists.items():
    problems += datasets.find_split_problems(
      labeled,
      unlabeled,
      files=split_files[split],
      known=known,
      with_mask=with_mask,
    )
  return problems
