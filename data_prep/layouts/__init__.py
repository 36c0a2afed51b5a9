"""The layouts of folders that are read; `tree` says what each module has."""

import pathlib
from collections.abc import Sequence
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
)

_MODULES = (
  voc,
  pair_lists,
  cvat,
  ade20k,
  mmsegmentation,
  roboflow,
  supervisely,
  label_studio,
  labelme,
  folders,
  beside,
)
_BY_NAME = {module.NAME: module for module in _MODULES}
NAMES = tuple(_BY_NAME)
_MAX_SHOWN = 8


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
  first = files.read(root, without)
  listing = first
  while True:
    fitting = _find_fitting(listing, options)
    inner = files.list_folders(listing.root)
    if fitting or len(inner) != 1 or listing.folders.get("", 0):
      break
    listing = files.read(inner[0], without)
  listing = listing if fitting else first
  if options.layout:
    return _BY_NAME[options.layout].find(listing, options)
  if len(fitting) > 1:
    titles = " or ".join(module.TITLE for module in fitting)
    names = "|".join(module.NAME for module in fitting)
    raise ValueError(f"{root}: may be {titles}; give --layout={names}")
  if not fitting:
    raise ValueError(_explain(root, listing))
  return fitting[0].find(listing, options)


def _find_fitting(
  listing: files.Listing, options: tree.Options
) -> list[ModuleType]:
  if options.layout:
    module = _BY_NAME[options.layout]
    return [module] if module.fits(listing, options) else []
  fitting = [m for m in _MODULES if m.fits(listing, options)]
  names = {module.NAME for module in fitting}
  return [m for m in fitting if not names & set(m.YIELDS_TO)]


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
