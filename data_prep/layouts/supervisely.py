"""What Supervisely exports as masks.

  img/NAME.jpg
  masks_machine/NAME.png              or NAME.jpg.png
  obj_class_to_machine_color.json     here, or in the folder above

A project has several folders of this kind; ids then begin with their names.
"""

import pathlib

from data_prep.layouts import (
  files,
  matching,
  places,
  tree,
  words,
)

NAME = "supervisely"
TITLE = "Supervisely"
YIELDS_TO = ()

_IMAGES, _MASKS = "img", "masks_machine"
_COLORS = "obj_class_to_machine_color.json"


def fits(listing: files.Listing, options: tree.Options) -> bool:
  del options
  names = {part for folder in listing.folders for part in folder.split("/")}
  return {_IMAGES, _MASKS} <= names


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  found = places.find(
    listing, options.images or _IMAGES, options.masks or _MASKS
  )
  images = [p for p in found if p.kind == words.IMAGE]
  masks = [p for p in found if p.kind == words.MASK]
  return matching.to_tree(
    TITLE,
    images,
    masks,
    options,
    (_find_class_folder(listing),),
  )


def _find_class_folder(listing: files.Listing) -> pathlib.Path:
  """The folder of the project: this one or, of one of its parts, that above."""
  above = listing.root.resolve().parent
  is_above = "meta.json" not in listing.by_key and (above / _COLORS).is_file()
  return above if is_above and _COLORS not in listing.by_key else listing.root
