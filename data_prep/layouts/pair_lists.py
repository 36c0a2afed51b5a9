"""Lists that name files: an image and its mask, or an image, a line.

  train.txt, val.txt                  JPEGImages/x.jpg SegmentationClass/x.png
  splits/SPLIT/labeled.txt            likewise
  splits/SPLIT/unlabeled.txt          likewise, or just JPEGImages/x.jpg

as UniMatch, CorrMatch and PaddleSeg have them. A path may be absolute, or of
another computer if its end is a path in the tree; names may hold blanks. An
image alone, x.jpg, has its mask of the same name in the folder of masks.
"""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence

from data_prep.layouts import (
  checks,
  endings,
  files,
  id_lists,
  line_files,
  listed,
  tree,
  words,
)
from u2pl_jax.data import datasets

NAME = "pairs"
TITLE = "lists of image and mask files"
YIELDS_TO = ("cvat", "roboflow", "label_studio", "supervisely")


def name_files(listing: files.Listing, options: tree.Options) -> bool:
  """Whether the lists name files, not ids."""
  for file in id_lists.find(listing, options).files:
    if file.is_file():
      for line in datasets.read_id_list(file)[:1]:
        if line.lower().endswith(endings.IMAGES):
          return not _is_id(listing, options, line)
  return False


def _is_id(listing: files.Listing, options: tree.Options, line: str) -> bool:
  """Whether a line is an id that happens to end like a file: x.jpg.png."""
  folder = options.images or listed.IMAGES
  return any(
    files.key(f"{folder}/{line}{ending}") in listing.by_key
    for ending in endings.IMAGES
  )


def fits(listing: files.Listing, options: tree.Options) -> bool:
  return id_lists.exist(listing, options) and name_files(listing, options)


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  lists = id_lists.find(listing, options)
  reader = line_files.Reader(
    listing,
    _find_usual(listing, words.IMAGE, options.images, listed.IMAGES),
    _find_usual(listing, words.MASK, options.masks, listed.MASKS),
  )
  pairs, problems = {}, []
  for file in dict.fromkeys(lists.files):
    needs_mask = file.name != "unlabeled.txt"
    pairs[file] = []
    for line in datasets.read_id_list(file):
      try:
        pairs[file].append(reader.read(line, file, needs_mask))
      except ValueError as error:
        problems.append(str(error))
  images = [image for found in pairs.values() for image, _ in found]
  ids = _name(images, listing.root, reader.images_folder)
  entries, more = _merge(pairs, ids)
  named = {
    file: [ids[image] for image, _ in found] for file, found in pairs.items()
  }
  problems += more + _find_two_endings(ids)
  return _to_tree(listing, lists, named, entries, problems)


def _find_usual(
  listing: files.Listing, kind: str, given: str, usual: str
) -> pathlib.Path | None:
  """The folder that names without a folder lie in, if there is just one."""
  if given:
    return listed.find_folder(listing, kind, given, usual)
  try:
    folder = listed.find_folder(listing, kind, given, usual)
  except ValueError:  # Of several; lists that name folders need none of them.
    return None
  return folder if folder.is_dir() else None


def _name(
  images: Sequence[pathlib.Path],
  root: pathlib.Path,
  folder: pathlib.Path | None,
) -> dict[pathlib.Path, str]:
  """Returns the id of each image: its path in the folder that holds all."""
  tops = {image.parent for image in images}
  if folder and all(top.is_relative_to(folder) for top in tops):
    top = folder
  else:
    top = pathlib.Path(os.path.commonpath(tops)) if tops else root
  return {
    image: image.relative_to(top).with_suffix("").as_posix() for image in images
  }


def _merge(
  pairs: Mapping[
    pathlib.Path, Sequence[tuple[pathlib.Path, pathlib.Path | None]]
  ],
  ids: Mapping[pathlib.Path, str],
) -> tuple[dict[str, tree.Entry], list[str]]:
  """Returns the image and mask of each id, and images of two masks."""
  entries, problems = {}, []
  for file, found in pairs.items():
    for image, mask in found:
      old = entries.get(ids[image])
      if old and old.mask and mask and old.mask != mask:
        problems.append(
          f"{file}: {image} has the mask {mask}, and {old.mask} in another line"
        )
      entries[ids[image]] = tree.Entry(
        ids[image], image, mask or (old.mask if old else None)
      )
  return entries, problems


def _find_two_endings(ids: Mapping[pathlib.Path, str]) -> list[str]:
  by_id = collections.defaultdict(list)
  for image, example_id in ids.items():
    by_id[example_id].append(str(image))
  return [
    f"id {i!r} has several images: {' and '.join(found)}"
    for i, found in by_id.items()
    if len(found) > 1
  ]


def _to_tree(
  listing: files.Listing,
  lists: id_lists.Lists,
  named: Mapping[pathlib.Path, list[str]],
  entries: Mapping[str, tree.Entry],
  problems: list[str],
) -> tree.Tree:
  splits = {
    split: tuple(named[file] for file in pair)
    for split, pair in lists.splits.items()
  }
  train = [i for file in lists.train for i in named[file]]
  val = named[lists.val] if lists.val else None
  where = list(lists.train)
  if not lists.train:
    parts = (i for pair in splits.values() for ids in pair for i in ids)
    train = list(dict.fromkeys(parts))
    where = [file for pair in lists.splits.values() for file in pair]
  problems = [
    *problems,
    *checks.find_list_problems(train, where, val or [], lists.val),
    *checks.find_split_problems(
      splits,
      lists.splits,
      known=frozenset(train),
      with_mask={i for i, entry in entries.items() if entry.has_mask},
    ),
    *(
      f"{lists.val}: id {i!r} has no mask"
      for i in dict.fromkeys(val or [])
      if not entries[i].has_mask
    ),
  ]
  return tree.Tree(
    title=TITLE,
    train=[entries[i] for i in train],
    val=None if val is None else [entries[i] for i in val],
    class_folders=(listing.root,),
    split_lists=splits,
    problems=problems,
  )
