"""The folders of MMSegmentation.

img_dir/{train,val}/NAME.jpg
ann_dir/{train,val}/NAME.png
"""

from data_prep.layouts import files, folders, tree

NAME = "mmsegmentation"
TITLE = "MMSegmentation"
YIELDS_TO = ("voc", "pairs")


def fits(listing: files.Listing, options: tree.Options) -> bool:
  del options
  names = {part for folder in listing.folders for part in folder.split("/")}
  return {"img_dir", "ann_dir"} <= names


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  return folders.read_tree(
    listing, TITLE, options, images="img_dir", masks="ann_dir"
  )
