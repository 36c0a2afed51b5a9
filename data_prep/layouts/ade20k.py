"""ADE20K as of its challenge: 0 is "other", classes start at 1.

images/{training,validation}/NAME.jpg
annotations/{training,validation}/NAME.png
objectInfo150.txt                           may be missing
"""

from data_prep.layouts import files, folders, tree

NAME = "ade20k"
TITLE = "ADE20K"
YIELDS_TO = ("voc", "pairs")


def fits(listing: files.Listing, options: tree.Options) -> bool:
  del options
  return bool(
    listing.under("images/training") and listing.under("annotations/training")
  )


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  return folders.read_tree(
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
