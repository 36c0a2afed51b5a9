"""What labelme2voc.py writes.

JPEGImages/ID.jpg
SegmentationClassPNG/ID.png         or SegmentationClass; -1 is 255
SegmentationClass/ID.npy            or SegmentationClassNpy; is not needed
class_names.txt
"""

from data_prep.layouts import files, folders, id_lists, tree

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
  """The folder of masks that are images.

  Raises:
    FileNotFoundError: there is none.
  """
  for name in _MASKS:
    if any(n.lower().endswith(".png") for n in listing.under(name)):
      return name
  raise FileNotFoundError(
    f"{listing.root / _MASKS[1]}: no masks in PNG there; run labelme2voc.py "
    "again, without --nopng"
  )
