"""What Supervisely exports as masks.

  img/NAME.jpg
  masks_machine/NAME.png              or NAME.jpg.png
  obj_class_to_machine_color.json     here, or in the folder above

A project has several folders of this kind; ids then begin with their names.
"""

import dataclasses
import pathlib

from data_prep.layouts import (
  affixes,
  endings,
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
  full = {(p.group, files.key(p.path.name)) for p in images}
  stems = {(p.group, files.key(p.stem)) for p in images}
  rule = None
  if not (options.image_suffix or options.mask_suffix):
    # NAME.jpg.png is the mask of NAME.jpg.
    masks = [
      dataclasses.replace(p, stem=files.split_ending(p.stem)[0])
      if (p.group, files.key(p.stem)) in full - stems
      and files.split_ending(p.stem)[1] in endings.IMAGES
      else p
      for p in masks
    ]
    rule = affixes.Affixes()
  return matching.to_tree(
    TITLE,
    images,
    masks,
    options,
    (_find_class_folder(listing),),
    rule=rule,
  )


def _find_class_folder(listing: files.Listing) -> pathlib.Path:
  """The folder of the project: this one or, of one of its parts, that above."""
  above = listing.root.resolve().parent
  is_above = "meta.json" not in listing.by_key and (above / _COLORS).is_file()
  return above if is_above and _COLORS not in listing.by_key else listing.root
