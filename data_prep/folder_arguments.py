"""The command line of `folder`."""

import argparse
import os
from collections.abc import Sequence

from data_prep import class_table, command, folder_classes, layouts
from data_prep.layouts import tree

_PLACES = {
  "images": "folder of the images; default: images, img, JPEGImages, ...",
  "masks": "folder of the masks; default: masks, labels, ann, gt, ...",
  "lists": "folder of the id lists; default: ImageSets/Segmentation, or TREE",
  "train_list": "name of the list of training images, without .txt; default: "
  "trainaug, else train",
  "val_list": "name of the list of validation images; default: val",
  "splits": "folder of the semi-supervised splits; default: splits",
  "image_suffix": "what names of images end in before .jpg, and names of their "
  "masks do not, such as _leftImg8bit",
  "mask_suffix": "what names of masks end in before .png, and names of their "
  "images do not, such as _mask",
}


# What else a dataset knows that masks are added to.
_OF_IMAGES = (
  "layout", "unlabeled", "allow_unmatched", "val", "seed", "value_range",
  "mask_orientation",
)  # fmt: skip
_WITH_ADD_TO = ("masks", "mask_suffix")  # Of `_PLACES`.


def parse(
  parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
  """Adds all arguments to a parser and reads `argv` with it."""
  parser.add_argument(
    "--root", required=True, help="the folder that holds the tree"
  )
  command.add_target_arguments(parser)
  parser.add_argument(
    "--add_to",
    default="",
    metavar="NAME",
    help="the dataset whose images the masks in --root are of; see above",
  )
  group = parser.add_argument_group("where things are, if not found by itself")
  group.add_argument(
    "--layout", choices=layouts.NAMES, default="", help="see above"
  )
  for name, text in _PLACES.items():
    group.add_argument(f"--{name}", default="", help=text)
  group.add_argument(
    "--unlabeled",
    action="append",
    default=[],
    metavar="FOLDER",
    help="a further folder of images without masks, in TREE or anywhere; may "
    "be given several times",
  )
  group.add_argument(
    "--allow_unmatched",
    action="store_true",
    help="leave out masks that match no image, instead of refusing them",
  )
  _add_class_arguments(parser.add_argument_group("what masks mean"))
  drawing = parser.add_argument_group("what is drawn, and pixels")
  _add_draw_arguments(drawing)
  args = parser.parse_args(argv)
  if args.add_to:
    _check_alone(parser, args)
  return args


def _check_alone(
  parser: argparse.ArgumentParser, args: argparse.Namespace
) -> None:
  """Ends the program if a flag is given that --add_to leaves no room for."""
  names = [*_PLACES, *_OF_IMAGES]
  for name in names:
    if name in _WITH_ADD_TO or getattr(args, name) == parser.get_default(name):
      continue
    parser.error(f"--{name} goes without --add_to, as {args.add_to} says it")


def _add_class_arguments(group):
  group.add_argument(
    "--classes", default="", help="file of classes; default: see above"
  )
  group.add_argument(
    "--class_names",
    type=lambda text: text.split(","),
    default=(),
    help="names by class id, separated by commas, instead of the file of "
    "classes",
  )
  group.add_argument(
    "--mask_values",
    choices=class_table.MASK_VALUES,
    default="",
    help="what the values of all masks mean: ids, colors of the palette, or "
    "binary, which is black and white for the first and second of two classes; "
    "default: what the file of classes says",
  )
  group.add_argument(
    "--values",
    default="",
    metavar="VALUE:NAME,...",
    help="classes of stored values, such as 0:ignore,7:road,8:road",
  )
  group.add_argument(
    "--threshold",
    type=int,
    help="the least value that is white in binary masks; default: "
    f"{class_table.THRESHOLD}",
  )
  group.add_argument(
    "--reduce_zero_label",
    action="store_true",
    help="value 0 is ignored, and classes start at 1",
  )


def _add_draw_arguments(group):
  group.add_argument(
    "--val",
    default="0.1",
    help="share (0.1 or 1/10) or number of the images with masks to validate "
    "on, if nothing says which; default: 0.1",
  )
  group.add_argument(
    "--seed", type=int, default=0, help="of all that is drawn; default: 0"
  )
  group.add_argument(
    "--value_range",
    default="",
    metavar="LOW,HIGH",
    help="what becomes black and white in images of more than 8 bits, such as "
    "0,4095 of 12 bits",
  )
  group.add_argument(
    "--mask_orientation",
    choices=("", "stored", "upright"),
    default="",
    help="how masks lie whose images have an orientation tag (EXIF), where "
    "sizes cannot tell: as the pixels are stored, or as a viewer shows them",
  )


def to_layout(args: argparse.Namespace) -> tree.Options:
  """Returns what the user says about where things are."""
  return tree.Options(
    layout=args.layout,
    allow_unmatched=args.allow_unmatched,
    unlabeled=tuple(args.unlabeled),
    **{name: os.path.expanduser(getattr(args, name)) for name in _PLACES},
  )


def to_classes(args: argparse.Namespace) -> folder_classes.Options:
  """Returns what the user says about classes."""
  return folder_classes.Options(
    classes=args.classes,
    class_names=args.class_names,
    mask_values=args.mask_values,
    values=args.values,
    threshold=args.threshold,
    reduce_zero_label=args.reduce_zero_label,
    layout=args.layout,
  )
