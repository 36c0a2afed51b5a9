"""Prepares a dataset from a folder of images and masks, as tools export it.

  python -m data_prep.folder --root=TREE --name=NAME --data_dir=DIR

TREE is of one of these layouts; which one is found out and said:

  folders         images/NAME.jpg and masks/NAME.png, or other usual names; flat
                  or nested; NAME_mask.png, too; folders train and val in either
                  order are lists
  beside          NAME.jpg with NAME_mask.png beside it
  voc             JPEGImages, SegmentationClass, and lists of ids: train.txt or
                  trainaug.txt, and val.txt, in ImageSets/Segmentation; splits/
                  SPLIT/labeled.txt and unlabeled.txt may be there
  pairs           lists with lines IMAGE MASK; or IMAGE
  cvat            "Segmentation mask 1.1" of CVAT
  labelme         what labelme2voc.py writes
  label_studio    brush labels as PNG, with the JSON export
  roboflow        semantic masks of Roboflow
  supervisely     img and masks_machine
  mmsegmentation  img_dir and ann_dir
  ade20k          images and annotations with training and validation; 0 is
                  ignored

Classes are read from classes.json, labelmap.txt, class_names.txt, labels.txt,
_classes.csv, label_classes.json and others like them; without such a file from
--class_names, or else they are the values that the masks hold. 255 is ignored.

If no list or folder says which images to validate on, a share is drawn among
those with masks (--val), so that the others show all classes. If there are no
semi-supervised splits, 1_2, 1_4, 1_8 and 1_16 are drawn; see
data_prep.make_splits for others. An image without a mask can only serve
unlabeled. Whatever is wrong with any file or list is reported together, and
then nothing is written.

  python -m data_prep.folder --root=MASKS --add_to=NAME --name=NEW \\
    --data_dir=DIR

This command makes the dataset NEW of the dataset NAME and masks of some of its
training images, such as were corrected in CVAT, Label Studio or an editor.
Classes and validation images stay; split "all" labels all that have a mask.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from data_prep import (
  addition,
  class_table,
  command,
  default_splits,
  examples,
  folder_arguments,
  folder_classes,
  folder_validation,
  layouts,
  writer,
)
from data_prep.layouts import tree, unlabeled
from u2pl_jax.data import datasets, image_files
from u2pl_jax.runtime import command_line


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a dataset is made with, besides its folder.

  Attributes:
    layout: what the user says about where things are.
    classes: what the user says about classes.
    val: share or number of validation images where none are named.
    seed: non-negative; of all that is drawn.
    value_range: see `writer.Source`.
    mask_orientation: see `writer.Source`.
  """

  layout: tree.Options = tree.Options()
  classes: folder_classes.Options = folder_classes.Options()
  val: str = "0.1"
  seed: int = 0
  value_range: tuple[int, int] | None = None
  mask_orientation: str = ""


def prepare(
  root: str | pathlib.Path,
  *,
  name: str,
  data_dir: str | pathlib.Path,
  settings: Settings = Settings(),
  overwrite: bool = False,
) -> pathlib.Path:
  """Makes the dataset `name` of the tree at `root`.

  Args:
    root: the tree.
    name: the dataset's name: small letters, digits and underscores.
    data_dir: folder of all datasets.
    settings: what the user says.
    overwrite: whether to replace a dataset of this name.

  Returns:
    The dataset's folder.

  Raises:
    ValueError: files or lists are faulty; the message names all of them. Or
      the tree can be read in several ways; the message names the options.
    OSError: a list or folder is missing, or the dataset cannot be written.
  """
  root = pathlib.Path(root).expanduser()
  if not root.is_dir():
    raise FileNotFoundError(f"{root}: no such folder")
  if settings.seed < 0:
    raise ValueError(f"--seed={settings.seed}: must not be negative")
  writer.check_target(name, data_dir, overwrite)
  found = read_tree(root, settings.layout)
  source = _to_source(root, found, settings)
  with writer.preparation_lock(data_dir):
    path = writer.write_dataset(
      source, name=name, data_dir=data_dir, overwrite=overwrite
    )
    if not source.split_lists:
      default_splits.draw(datasets.open_dataset(name, data_dir), settings.seed)
  return path


def read_tree(root: pathlib.Path, options: tree.Options) -> tree.Tree:
  """Finds out what is where in a folder, by names alone.

  Raises:
    ValueError: no layout fits, several do, or a list is unreadable.
    OSError: a list or folder is missing.
  """
  more = [unlabeled.locate(root, folder) for folder in options.unlabeled]
  found = layouts.recognize(root, options, without=more)
  taken = [entry.id for entry in found.entries]
  entries, problems = unlabeled.read(more, taken)
  if not entries and not problems:
    return found
  return dataclasses.replace(
    found,
    train=[*found.train, *entries],
    problems=[*found.problems, *problems],
  )


def _to_source(
  root: pathlib.Path, found: tree.Tree, settings: Settings
) -> writer.Source:
  """Reads the classes and, where it has to, draws validation images."""
  file = folder_classes.find_file(root, found, settings.classes)
  print(_describe(root, found, file, settings.classes))
  table = folder_classes.read(found, file, settings.classes)
  for note in (*found.notes, *table.notes):
    print(f"  {note}")
  if found.val is None:
    found = folder_validation.draw(found, table, settings.val, settings.seed)
  to_mask = folder_classes.make_reader(table)
  problems = list(found.problems)
  raw = {}
  for split, entries in (("train", found.train), ("val", found.val)):
    raw[split] = []
    for entry in entries:
      try:
        mask = to_mask(entry)
      except ValueError as error:  # A layer of a class that is not named.
        problems.append(f"{entry.image}: {error}")
        continue
      image = folder_classes.to_file(entry.image)
      raw[split].append(examples.RawExample(entry.id, image, mask))
  return writer.Source(
    class_names=table.names,
    palette=table.palette,
    examples=raw,
    split_lists=found.split_lists,
    parameters={
      "source": "folder",
      "root": str(root.resolve()),
      "layout": found.title,
      "mask_values": table.mask_values,
      "class_map": _describe_map(table),
      "value_range": settings.value_range,
      "mask_orientation": settings.mask_orientation,
    },
    problems=problems,
    value_range=settings.value_range,
    mask_orientation=settings.mask_orientation,
  )


def _describe_map(table: class_table.ClassTable) -> dict[str, int]:
  """What values and colors of masks were taken for, for the record."""
  values = {str(value): i for value, i in table.ids_by_value.items()}
  colors = {
    "#%02x%02x%02x" % color: i for color, i in table.ids_by_color.items()
  }
  return values | colors | {"threshold": table.threshold}


def _describe(
  root: pathlib.Path,
  found: tree.Tree,
  file: pathlib.Path | None,
  options: folder_classes.Options,
) -> str:
  """Says what was recognized."""
  entries = found.entries
  if file is not None:
    inside = file.is_relative_to(root)
    source = file.relative_to(root) if inside else file
  elif options.class_names:
    source = "--class_names"
  elif any(entry.layers for entry in entries):
    source = "the names of layers"
  else:
    source = "--values" if options.values else "the values in the masks"
  return (
    f"recognized: {found.title}: {len(entries)} images, "
    f"{sum(entry.has_mask for entry in entries)} masks, classes from {source}"
  )


def main(argv: Sequence[str] | None = None) -> int:
  parser = command_line.make_parser("data_prep.folder", __doc__)
  args = folder_arguments.parse(parser, argv)
  if args.add_to:
    return command.run(
      lambda: addition.prepare(
        args.root,
        add_to=args.add_to,
        name=args.name,
        data_dir=args.data_dir,
        layout=folder_arguments.to_layout(args),
        classes=folder_arguments.to_classes(args),
        overwrite=args.overwrite,
      )
    )
  return command.run(
    lambda: prepare(
      args.root,
      name=args.name,
      data_dir=args.data_dir,
      settings=Settings(
        layout=folder_arguments.to_layout(args),
        classes=folder_arguments.to_classes(args),
        val=args.val,
        seed=args.seed,
        value_range=image_files.parse_value_range(args.value_range),
        mask_orientation=args.mask_orientation,
      ),
      overwrite=args.overwrite,
    )
  )


if __name__ == "__main__":
  sys.exit(main())
