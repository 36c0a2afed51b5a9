"""What CVAT exports as "Segmentation mask 1.1".

JPEGImages/ID.jpg
SegmentationClass/ID.png            RGB colors
SegmentationObject/                 is not read
ImageSets/Segmentation/default.txt  or the subsets that a user named
labelmap.txt
"""

from data_prep.layouts import files, id_lists, listed, tree

NAME = "cvat"
TITLE = "CVAT Segmentation mask 1.1"
YIELDS_TO = ()


def fits(listing: files.Listing, options: tree.Options) -> bool:
  return (
    "labelmap.txt" in listing.by_key
    and bool(listing.under(options.masks or listed.MASKS))
    and id_lists.exist(listing, options)
  )


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  root = listing.root
  if not options.images and not (root / listed.IMAGES).is_dir():
    raise FileNotFoundError(
      f"{root / listed.IMAGES}: no such folder; export with the images, or "
      "give --images=FOLDER"
    )
  return listed.read_tree(listing, options, TITLE)
