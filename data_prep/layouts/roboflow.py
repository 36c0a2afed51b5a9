"""Semantic masks of Roboflow.

{train,valid,test}/NAME.jpg
{train,valid,test}/NAME_mask.png
{train,valid,test}/_classes.csv     Pixel Value, Class
"""

import dataclasses

from data_prep.layouts import beside, files, places, tree

NAME = "roboflow"
TITLE = "Roboflow semantic masks"
YIELDS_TO = ()

_CLASSES = "_classes.csv"
_SUFFIX = "_mask"


def fits(listing: files.Listing, options: tree.Options) -> bool:
  suffix = options.mask_suffix or _SUFFIX
  return any(
    folder.rpartition("/")[2] == _CLASSES for folder in listing.names
  ) and any(files.split_ending(n)[0].endswith(suffix) for n in listing.names)


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  found = places.find(listing)
  folders = [
    (listing.root / name).parent
    for name in listing.names
    if name.rpartition("/")[2] == _CLASSES
  ]
  options = dataclasses.replace(
    options, mask_suffix=options.mask_suffix or _SUFFIX
  )
  return beside.read_tree(
    TITLE,
    found,
    options.mask_suffix,
    options,
    tuple(dict.fromkeys((listing.root, *folders))),
  )
