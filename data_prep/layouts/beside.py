"""Images with their masks beside them: NAME.jpg and NAME_mask.png.

Flat or nested; folders train, val and test serve as lists. Without a suffix,
NAME.png is the mask of NAME.jpg if each PNG lies beside such an image.
"""

import collections
import pathlib
import re
from collections.abc import Sequence

from data_prep.layouts import (
  affixes,
  endings,
  files,
  matching,
  places,
  tree,
  words,
)

NAME = "beside"
TITLE = "images with masks beside them"
YIELDS_TO = ("voc", "pairs", "roboflow", "label_studio", "folders")

_USUAL = re.compile(
  r"[\W_]*(mask|masks|label|labels|labelids|gt|seg|segmentation|ann|annot|"
  r"annotation|groundtruth|ground_truth|l)",
  re.IGNORECASE,
)


def fits(listing: files.Listing, options: tree.Options) -> bool:
  try:
    found = _find_files(listing, options)
    return _find_suffix(found, options.mask_suffix) is not None
  except FileNotFoundError:
    return False


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  found = _find_files(listing, options)
  suffix = _find_suffix(found, options.mask_suffix)
  if suffix is None:
    raise ValueError(
      f"{listing.root}: no image with a mask beside it; give --mask_suffix="
      "_mask or the like, as the names of masks end"
    )
  return read_tree(TITLE, found, suffix, options, (listing.root,))


def _find_files(
  listing: files.Listing, options: tree.Options
) -> list[places.Place]:
  """Returns the image files; none if some have a folder of masks."""
  if not options.images:
    found = places.find(listing)
    return [] if any(p.kind == words.MASK for p in found) else found
  if options.masks not in ("", options.images):
    return []
  found = places.find(listing, options.images)
  return [place for place in found if place.kind == words.IMAGE]


def read_tree(
  title: str,
  found: Sequence[places.Place],
  suffix: str,
  options: tree.Options,
  class_folders: Sequence[pathlib.Path],
  notes: Sequence[str] = (),
) -> tree.Tree:
  """Reads a tree of images with their masks beside them.

  Args:
    title: of the layout.
    found: all image files.
    suffix: what names of masks end in and their images' do not; empty if PNG
      files are the masks.
    options: what the user says.
    class_folders: see `tree.Tree`.
    notes: of the layout.
  """
  masks = [place for place in found if _is_mask(place, suffix)]
  paths = {place.path for place in masks}
  notes = list(notes)
  if not options.mask_suffix:
    notes.append(f"the mask of NAME is NAME{suffix}.png")
  return matching.to_tree(
    title,
    [place for place in found if place.path not in paths],
    masks,
    options,
    class_folders,
    rule=affixes.Affixes(image_suffix=options.image_suffix, mask_suffix=suffix),
    notes=notes,
  )


def _is_mask(place: places.Place, suffix: str) -> bool:
  if suffix:
    return place.stem.endswith(suffix) and place.stem != suffix
  return place.ending == endings.USUAL_MASK


def _find_suffix(found: Sequence[places.Place], given: str) -> str | None:
  """Finds what names of masks end in; None if there are no masks.

  Raises:
    ValueError: there are several suffixes.
  """
  if given:
    return given if any(_is_mask(place, given) for place in found) else None
  stems = collections.defaultdict(list)
  by_name = collections.defaultdict(set)
  for place in found:
    stems[place.group].append(place.stem)
    by_name[place.group, place.stem].add(place.ending)
  counts = affixes.count_endings(stems)
  total = len(by_name)
  likely = [
    suffix
    for suffix, count in counts.items()
    if _USUAL.fullmatch(suffix) or 3 * count >= total
  ]
  if len(likely) > 1:
    raise ValueError(
      "names end in several ways that may mark masks; give "
      f"--mask_suffix={'|'.join(sorted(likely))}"
    )
  if likely:
    return likely[0]
  pairs = [ends for ends in by_name.values() if endings.USUAL_MASK in ends]
  return "" if pairs and all(len(ends) == 2 for ends in pairs) else None
