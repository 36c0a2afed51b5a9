"""The layouts of folders that are read; `tree` says what each module has."""

import pathlib
import re
from collections.abc import Iterator, Sequence
from types import ModuleType

from data_prep.layouts import (
  ade20k,
  beside,
  cvat,
  files,
  folders,
  label_studio,
  labelme,
  mmsegmentation,
  pair_lists,
  roboflow,
  supervisely,
  tree,
  voc,
  words,
)

# Each after those that it yields to.
_MODULES = (
  cvat,
  roboflow,
  supervisely,
  label_studio,
  voc,
  pair_lists,
  ade20k,
  mmsegmentation,
  labelme,
  folders,
  beside,
)
_BY_NAME = {module.NAME: module for module in _MODULES}
NAMES = tuple(_BY_NAME)
_MAX_SHOWN = 8
_READ_ME = re.compile(r"(read.?me|license|copying|changelog)", re.IGNORECASE)


def recognize(
  root: pathlib.Path,
  options: tree.Options,
  without: Sequence[pathlib.Path] = (),
) -> tree.Tree:
  """Reads a folder by the layout that fits it.

  Args:
    root: the folder; what it holds may lie in a single folder in it.
    options: what the user says.
    without: folders that belong to no layout.

  Raises:
    ValueError: no layout fits, or several do; names what to do.
    OSError: something that the layout needs is missing.
  """
  first, fitting = files.read(root, without), []
  listings = [first, *_open_wrappers(first, without)]
  if not (options.images or options.masks or options.lists or options.splits):
    # Files of classes lie beside what they are about.
    listings.reverse()
  for listing in listings:
    fitting = _find_fitting(listing, options)
    if fitting:
      break
  else:
    listing = first
  if options.layout:
    return _BY_NAME[options.layout].find(listing, options)
  if len(fitting) > 1:
    titles = " or ".join(module.TITLE for module in fitting)
    names = "|".join(module.NAME for module in fitting)
    raise ValueError(f"{root}: may be {titles}; give --layout={names}")
  if not fitting:
    raise ValueError(_explain(root, first))
  return fitting[0].find(listing, options)


def _open_wrappers(
  listing: files.Listing, without: Sequence[pathlib.Path]
) -> Iterator[files.Listing]:
  """Yields the folder that is all there is in a folder, and that in it."""
  while True:
    inner = files.list_folders(listing.root)
    here = [name for name in listing.names if "/" not in name]
    if len(inner) != 1 or not all(map(_READ_ME.match, here)):
      return
    if words.read(inner[0].name):
      return
    listing = files.read(inner[0], without)
    yield listing


def _find_fitting(
  listing: files.Listing, options: tree.Options
) -> list[ModuleType]:
  if options.layout:
    module = _BY_NAME[options.layout]
    return [module] if module.fits(listing, options) else []
  fitting = {}
  for module in _MODULES:
    if not fitting.keys() & set(module.YIELDS_TO):
      if module.fits(listing, options):
        fitting[module.NAME] = module
  return list(fitting.values())


def _explain(root: pathlib.Path, listing: files.Listing) -> str:
  """Says that no layout fits, and what is there instead."""
  tops = {}
  for name in listing.names:
    top, is_below, _ = name.partition("/")
    tops[top + "/" * bool(is_below)] = tops.get(top, 0) + 1
  names = sorted(tops, key=lambda top: (not top.endswith("/"), top))
  shown = ", ".join(names[:_MAX_SHOWN]) + ", ..." * (len(names) > _MAX_SHOWN)
  return (
    f"{root}: no layout fits; it holds {shown or 'no files'}. Looked for a "
    "folder of images and one of masks (name them by --images=FOLDER --masks="
    "FOLDER), masks beside images (--mask_suffix=_mask), lists train.txt and "
    f"val.txt, and the exports of tools (--layout={'|'.join(NAMES)})"
  )
