"""Prepares a dataset from a VOC-style tree of images, masks and id lists.

  python -m data_prep.folder --root=TREE --name=NAME --data_dir=DIR

TREE holds, under these names unless others are given:

  JPEGImages/ID.jpg           images, JPEG or PNG
  SegmentationClass/ID.png    masks, PNG
  ImageSets/Segmentation/     trainaug.txt or, without it, train.txt; val.txt
  classes.json                {"names": [...], "palette": [[r, g, b], ...]}
  splits/SPLIT/               labeled.txt and unlabeled.txt, ids of the former;
                              may be missing, see data_prep.make_splits

Gray and palette masks hold class ids, 255 where ignored; RGB masks hold the
colors of the palette, and of "other_colors" {name: [[r, g, b], ...]} and
"ignore_colors" [[r, g, b], ...] in classes.json. --mask_values, or an entry of
that name in classes.json, settles it for all masks: ids; colors; binary, which
is black and white for the first and second of two classes.

A training image without a mask can only serve unlabeled. Whatever is wrong
with any file or list is reported together, and then nothing is written.
"""

import argparse
import dataclasses
import pathlib
import sys
import unicodedata
from collections.abc import Callable, Sequence

from data_prep import (
  class_files,
  class_table,
  command,
  examples,
  masks,
  writer,
)
from u2pl_jax.data import datasets
from u2pl_jax.runtime import command_line

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_MASK_SUFFIXES = (".png",)


@dataclasses.dataclass(frozen=True)
class Layout:
  """Where things are in a tree; all paths are relative to its root.

  Attributes:
    images: folder of the images.
    masks: folder of the masks.
    lists: folder of the id lists.
    train_list: name of the list of training images, without suffix; empty for
      trainaug where there is one, else train.
    val_list: name of the list of validation images.
    splits: folder that holds a folder for each semi-supervised split.
    classes: file of class names and palette.
  """

  images: str = "JPEGImages"
  masks: str = "SegmentationClass"
  lists: str = "ImageSets/Segmentation"
  train_list: str = ""
  val_list: str = "val"
  splits: str = "splits"
  classes: str = "classes.json"


def prepare(
  root: str | pathlib.Path,
  *,
  name: str,
  data_dir: str | pathlib.Path,
  layout: Layout = Layout(),
  class_names: Sequence[str] = (),
  mask_values: str = "",
  overwrite: bool = False,
) -> pathlib.Path:
  """Makes the dataset `name` of the tree at `root`.

  Args:
    root: the tree.
    name: the dataset's name: small letters, digits and underscores.
    data_dir: folder of all datasets.
    layout: where things are in the tree.
    class_names: [K] names by class id, instead of the tree's file of classes.
    mask_values: one of `class_table.MASK_VALUES`.
    overwrite: whether to replace a dataset of this name.

  Returns:
    The dataset's folder.

  Raises:
    ValueError: files or lists are faulty; the message names all of them.
    OSError: a list or folder is missing, or the dataset cannot be written.
  """
  root = pathlib.Path(root).expanduser()
  if not root.is_dir():
    raise FileNotFoundError(f"{root}: no such folder")
  writer.check_target(name, data_dir, overwrite)
  table = None if class_names else class_files.read(root / layout.classes)
  classes = class_table.adjust(
    table, class_names=class_names, mask_values=mask_values
  )
  source = read_tree(root, layout, classes)
  with writer.preparation_lock(data_dir):
    path = writer.write_dataset(
      source, name=name, data_dir=data_dir, overwrite=overwrite
    )
  if not source.split_lists:
    print(
      f"{root / layout.splits}: no splits there; to draw some: python -m "
      f"data_prep.make_splits --name={name} --data_dir={data_dir} --labeled=1/8"
    )
  return path


def read_tree(
  root: pathlib.Path, layout: Layout, classes: class_table.ClassTable
) -> writer.Source:
  """Reads the lists of a tree and finds its files, without opening them.

  Raises:
    FileNotFoundError: a list or folder is missing.
    ValueError: a list is unreadable.
  """
  images = _index_files(root / layout.images, _IMAGE_SUFFIXES)
  mask_files = _index_files(root / layout.masks, _MASK_SUFFIXES)
  convert = masks.make_reader(classes)
  lists = _find_lists(root, layout)
  ids = {split: datasets.read_id_list(file) for split, file in lists.items()}
  split_files = _find_split_files(root / layout.splits)
  split_lists = {
    split: tuple(datasets.read_id_list(file) for file in files)
    for split, files in split_files.items()
  }
  known = frozenset(ids["train"])
  with_mask = {i for i in known if _key(i) in mask_files}
  problems = _find_list_problems(ids, lists)
  for split, (labeled, unlabeled) in split_lists.items():
    problems += datasets.find_split_problems(
      labeled,
      unlabeled,
      files=split_files[split],
      known=known,
      with_mask=with_mask,
    )
  for split in ids:
    problems += _find_file_problems(
      ids[split], lists[split], images, mask_files, needs_mask=split == "val"
    )
  return writer.Source(
    class_names=classes.names,
    palette=classes.palette,
    examples={
      split: _to_raw_examples(ids[split], images, mask_files, convert)
      for split in ids
    },
    split_lists=split_lists,
    parameters={
      "source": "folder",
      "root": str(root.resolve()),
      "mask_values": classes.mask_values,
    },
    problems=problems,
  )


def _find_lists(root: pathlib.Path, layout: Layout) -> dict[str, pathlib.Path]:
  folder = root / layout.lists
  train = layout.train_list
  if not train:
    train = "trainaug" if (folder / "trainaug.txt").is_file() else "train"
  return {
    "train": folder / f"{train}.txt",
    "val": folder / f"{layout.val_list}.txt",
  }


def _find_split_files(
  folder: pathlib.Path,
) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
  """Returns the two lists of each semi-supervised split, by its name."""
  splits = sorted(path for path in folder.glob("*") if path.is_dir())
  return {s.name: (s / "labeled.txt", s / "unlabeled.txt") for s in splits}


def _key(example_id: str) -> str:
  """Returns an id as an index key: file systems differ in composing accents."""
  return unicodedata.normalize("NFC", example_id)


def _index_files(
  folder: pathlib.Path, suffixes: tuple[str, ...]
) -> dict[str, list[pathlib.Path]]:
  """Returns the files of `folder` and below with given suffixes, by id."""
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder}: no such folder")
  index = {}
  for path in sorted(folder.rglob("*")):
    if path.suffix.lower() in suffixes:
      example_id = path.relative_to(folder).with_suffix("").as_posix()
      index.setdefault(_key(example_id), []).append(path)
  return index


def _find_list_problems(
  ids: dict[str, list[str]], files: dict[str, pathlib.Path]
) -> list[str]:
  problems = []
  for split, file in files.items():
    if not ids[split]:
      problems.append(f"{file}: the list is empty")
    problems += datasets.find_duplicates(ids[split], file)
  training = frozenset(ids["train"])
  problems += [
    f"id {i!r} is both in {files['train']} and in {files['val']}"
    for i in dict.fromkeys(ids["val"])
    if i in training
  ]
  return problems


def _find_file_problems(
  ids: Sequence[str],
  file: pathlib.Path,
  images: dict[str, list[pathlib.Path]],
  masks: dict[str, list[pathlib.Path]],
  *,
  needs_mask: bool,
) -> list[str]:
  """Returns one message for each id without exactly one image, or a mask."""
  problems = []
  for example_id in dict.fromkeys(ids):
    found = images.get(_key(example_id), [])
    if not found:
      problems.append(f"{file}: id {example_id!r} has no image")
    elif len(found) > 1:
      names = " and ".join(str(path) for path in found)
      problems.append(f"{file}: id {example_id!r} has several images: {names}")
    if needs_mask and _key(example_id) not in masks:
      problems.append(f"{file}: id {example_id!r} has no mask")
  return problems


def _to_raw_examples(
  ids: Sequence[str],
  images: dict[str, list[pathlib.Path]],
  masks: dict[str, list[pathlib.Path]],
  convert: Callable[[examples.File], examples.Mask],
) -> list[examples.RawExample]:
  """Pairs images with masks; ids without an image are left out."""

  def to_file(path):
    return examples.File(str(path), path.read_bytes)

  raw_examples = []
  for example_id in ids:
    key = _key(example_id)
    if key in images:
      mask = convert(to_file(masks[key][0])) if key in masks else None
      image = to_file(images[key][0])
      raw_examples.append(examples.RawExample(example_id, image, mask))
  return raw_examples


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = command_line.make_parser("data_prep.folder", __doc__)
  parser.add_argument(
    "--root", required=True, help="the folder that holds the tree"
  )
  command.add_target_arguments(parser)
  for field in dataclasses.fields(Layout):
    parser.add_argument(
      f"--{field.name}",
      default=field.default,
      help=f"name or path in the tree; default: {field.default or 'see above'}",
    )
  parser.add_argument(
    "--class_names",
    type=lambda text: text.split(","),
    default=(),
    help="names by class id, separated by commas, instead of the file of "
    "classes",
  )
  parser.add_argument(
    "--mask_values",
    choices=class_table.MASK_VALUES,
    default="",
    help="what the values of all masks mean; default: what the file of classes "
    "says",
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
  args = _parse_args(argv)
  fields = [field.name for field in dataclasses.fields(Layout)]
  return command.run(
    lambda: prepare(
      args.root,
      name=args.name,
      data_dir=args.data_dir,
      layout=Layout(**{field: getattr(args, field) for field in fields}),
      class_names=args.class_names,
      mask_values=args.mask_values,
      overwrite=args.overwrite,
    )
  )


if __name__ == "__main__":
  sys.exit(main())
