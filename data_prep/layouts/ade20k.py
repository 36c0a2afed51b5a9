"""ADE20K as of its challenge: 0 is "other", classes start at 1.

images/{training,validation}/NAME.jpg
annotations/{training,validation}/NAME.png
objectInfo150.txt                           may be missing

Where all 20,210 training images are there, it is ADE20K itself: its 150 names
and colors are known, and the lists of UniMatch V2 become its splits.
"""

import dataclasses
import pathlib

from data_prep import class_files, split_lists
from data_prep.layouts import files, folders, tree

NAME = "ade20k"
TITLE = "ADE20K"
YIELDS_TO = ("voc", "pairs")
_CLASSES = pathlib.Path(class_files.__file__).parent / "known" / NAME
_TRAIN = frozenset(f"ADE_train_{index:08d}" for index in range(1, 20_211))


def fits(listing: files.Listing, options: tree.Options) -> bool:
  del options
  return bool(
    listing.under("images/training") and listing.under("annotations/training")
  )


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  found = folders.read_tree(
    listing,
    TITLE,
    options,
    images="images",
    masks="annotations",
    reduce_zero_label=True,
    notes=[
      "0 in its masks is no class and is ignored, classes start at 1; if 0 is "
      "a class, give --layout=folders"
    ],
  )
  ids = {entry.id.rpartition("/")[2]: entry.id for entry in found.train}
  return _complete(found, ids) if ids.keys() == _TRAIN else found


def _complete(found: tree.Tree, ids: dict[str, str]) -> tree.Tree:
  """ADE20K with what is known of it.

  Args:
    found: in the folder.
    ids: of the training images, by the stem of their files.
  """
  has_classes = any(map(class_files.find, found.class_folders))
  named = {
    name: tuple([ids[stem] for stem in stems] for stems in pair)
    for name, pair in read_splits().items()
  }
  folder = () if has_classes else (_CLASSES,)
  return dataclasses.replace(
    found,
    class_folders=(*found.class_folders, *folder),
    split_lists={**named, **found.split_lists},
  )


def read_splits() -> dict[str, tuple[list[str], list[str]]]:
  """Stems of labeled and unlabeled files, by the splits of UniMatch V2."""
  return split_lists.read_labeled(split_lists.UNIMATCH / NAME, _TRAIN)


def read_class_names() -> tuple[str, ...]:
  """Of the 150 classes, in the order of their ids."""
  return class_files.read(class_files.find(_CLASSES)).names
