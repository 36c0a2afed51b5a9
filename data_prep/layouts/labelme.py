"""What labelme2voc.py writes.

JPEGImages/ID.jpg
SegmentationClassPNG/ID.png         or SegmentationClass; -1 is 255
SegmentationClass/ID.npy            or SegmentationClassNpy; without PNG only
class_names.txt
"""

from data_prep.layouts import endings, files, folders, id_lists, tree

NAME = "labelme"
TITLE = "labelme2voc"
YIELDS_TO = ("voc", "pairs", "cvat")

_MASKS = ("SegmentationClassPNG", "SegmentationClass", "SegmentationClassNpy")


def fits(listing: files.Listing, options: tree.Options) -> bool:
  return (
    "class_names.txt" in listing.by_key
    and bool(listing.under("JPEGImages"))
    and any(map(listing.under, _MASKS))
    and not id_lists.exist(listing, options)
  )


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  return folders.read_tree(
    listing, TITLE, options, images="JPEGImages", masks=_find_masks(listing)
  )


def _find_masks(listing: files.Listing) -> str:
  """The folder of masks that are images, or else of those that are arrays."""
  for ending in (endings.USUAL_MASK, endings.ARRAY):
    for name in _MASKS:
      if any(n.lower().endswith(ending) for n in listing.under(name)):
        return name
  return _MASKS[1]
