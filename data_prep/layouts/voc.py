"""A tree like PASCAL VOC's: images, masks, and lists of ids.

JPEGImages/ID.jpg
SegmentationClass/ID.png
ImageSets/Segmentation/train.txt, val.txt    or trainaug.txt, or at the root
splits/SPLIT/labeled.txt, unlabeled.txt      may be missing
"""

from data_prep.layouts import files, id_lists, listed, pair_lists, tree

NAME = "voc"
TITLE = "VOC-style tree with lists"
YIELDS_TO = ("cvat", "roboflow", "label_studio", "supervisely")


def fits(listing: files.Listing, options: tree.Options) -> bool:
  return id_lists.exist(listing, options) and not pair_lists.name_files(
    listing, options
  )


def find(listing: files.Listing, options: tree.Options) -> tree.Tree:
  return listed.read_tree(listing, options, TITLE)
