"""Makes a dataset of a VOC-style tree of images, masks and id lists.

  python -m data_prep.folder --root=TREE --name=NAME --data_dir=DIR

TREE holds, under these names unless others are given:

  JPEGImages/ID.jpg           images, JPEG or PNG
  SegmentationClass/ID.png    masks of class ids (gray or palette), 255 ignored
  ImageSets/Segmentation/     trainaug.txt or, without it, train.txt; val.txt
  classes.json                {"names": [...], "palette": [[r, g, b], ...]}
  splits/SPLIT/               labeled.txt and unlabeled.txt, ids of the former

A training image without a mask can only serve unlabelled. Whatever is wrong
with any file or list is reported together, and then nothing is written.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import unicodedata
from collections.abc import Sequence

from data_prep import examples, writer
from u2pl_jax.data import datasets

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
  overwrite: bool = False,
) -> pathlib.Path:
  """Makes the dataset `name` of the tree at `root`.

  Args:
    root: the tree.
    name: the dataset's name: small letters, digits and underscores.
    data_dir: folder of all datasets.
    layout: where things are in the tree.
    class_names: [K] names by class id, instead of the tree's file of classes.
    overwrite: whether to replace a dataset of this name.

  Returns:
    The dataset's folder.

  Raises:
    ValueError: files or lists are faulty; the message names all of them.
    OSError: a list or folder is missing, or the dataset cannot be written.
  """
  root = pathlib.Path(root).expanduser()
  writer.check_target(name, data_dir, overwrite)
  source = read_tree(root, layout, class_names)
  with writer.preparation_lock(data_dir):
    return writer.write_dataset(
      source, name=name, data_dir=data_dir, overwrite=overwrite
    )


def read_tree(
  root: pathlib.Path, layout: Layout, class_names: Sequence[str] = ()
) -> writer.Source:
  """Reads the lists of a tree and finds its files, without opening them.

  Raises:
    FileNotFoundError: a list or folder is missing.
    ValueError: a list or the file of classes is unreadable.
  """
  if not root.is_dir():
    raise FileNotFoundError(f"{root}: no such folder")
  names, palette = _read_classes(root / layout.classes, class_names)
  images = _index_files(root / layout.images, _IMAGE_SUFFIXES)
  masks = _index_files(root / layout.masks, _MASK_SUFFIXES)
  lists = _find_lists(root, layout)
  ids = {split: datasets.read_id_list(file) for split, file in lists.items()}
  split_files = _find_split_files(root / layout.splits)
  split_lists = {
    split: tuple(datasets.read_id_list(file) for file in files)
    for split, files in split_files.items()
  }
  known = frozenset(ids["train"])
  with_mask = {i for i in known if _key(i) in masks}
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
      ids[split], lists[split], images, masks, needs_mask=split == "val"
    )
  return writer.Source(
    class_names=names,
    palette=palette,
    examples={
      split: _to_raw_examples(ids[split], images, masks) for split in ids
    },
    split_lists=split_lists,
    parameters={"source": "folder", "root": str(root.resolve())},
    problems=problems,
  )


def _read_classes(
  file: pathlib.Path, class_names: Sequence[str]
) -> tuple[list[str], list[list[int]]]:
  """Returns class names and palette, from `class_names` or from `file`."""
  if class_names:
    names, palette = list(class_names), None
  elif file.is_file():
    names, palette = _parse_classes(file)
  else:
    raise FileNotFoundError(
      f"{file}: no such file; name the classes in it or by --class_names"
    )
  if not 2 <= len(names) <= 255 or len(set(names)) < len(names):
    raise ValueError(
      f"{len(names)} class names ({', '.join(names[:5])}, ...): there must be "
      "2 to 255, no two the same"
    )
  return names, palette or [_voc_color(i) for i in range(len(names))]


def _parse_classes(
  file: pathlib.Path,
) -> tuple[list[str], list[list[int]] | None]:
  try:
    content = json.loads(file.read_text(encoding="utf-8-sig"))
  except ValueError as error:
    raise ValueError(f"{file}: not a JSON file ({error})") from error
  names = content.get("names") if isinstance(content, dict) else None
  if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
    raise ValueError(f'{file}: must hold {{"names": [the class names]}}')
  if content.get("ignore_label", 255) != 255:
    raise ValueError(
      f"{file}: ignore_label is {content['ignore_label']}, must be 255"
    )
  palette = content.get("palette")
  if palette is not None and not _is_palette(palette, len(names)):
    raise ValueError(
      f"{file}: palette must hold {len(names)} colours [r, g, b] of 0 to 255, "
      "one for each name"
    )
  return names, palette


def _is_palette(palette: object, length: int) -> bool:
  return (
    isinstance(palette, list)
    and len(palette) == length
    and all(isinstance(c, list) and len(c) == 3 for c in palette)
    and all(isinstance(v, int) and 0 <= v <= 255 for c in palette for v in c)
  )


def _voc_color(label: int) -> list[int]:
  """Returns the colour PASCAL VOC gives a class id: its bits, spread."""
  bits = [(label >> i) & 1 for i in range(8)]
  channels = [bits[c::3] for c in range(3)]
  return [sum(b << (7 - i) for i, b in enumerate(c)) for c in channels]


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
  if not splits:
    raise FileNotFoundError(
      f"{folder}: no splits there; put the ids to use with and without masks "
      "in SPLIT/labeled.txt and SPLIT/unlabeled.txt"
    )
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
) -> list[examples.RawExample]:
  """Pairs images with masks; ids without an image are left out."""

  def to_file(path):
    return examples.File(str(path), path.read_bytes)

  raw_examples = []
  for example_id in ids:
    key = _key(example_id)
    if key in images:
      mask = to_file(masks[key][0]) if key in masks else None
      image = to_file(images[key][0])
      raw_examples.append(examples.RawExample(example_id, image, mask))
  return raw_examples


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.folder",
    description="Makes a dataset of a VOC-style tree.",
  )
  parser.add_argument("--root", required=True, help="the tree")
  parser.add_argument("--name", required=True, help="of the dataset")
  parser.add_argument("--data_dir", required=True, help="of all datasets")
  for field in dataclasses.fields(Layout):
    parser.add_argument(
      f"--{field.name}", default=field.default, help="within the tree"
    )
  parser.add_argument(
    "--class_names",
    type=lambda text: text.split(","),
    default=(),
    help="by class id, comma-separated; instead of the file of classes",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace a dataset of this name"
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
  args = _parse_args(argv)
  fields = [field.name for field in dataclasses.fields(Layout)]
  try:
    prepare(
      args.root,
      name=args.name,
      data_dir=args.data_dir,
      layout=Layout(**{field: getattr(args, field) for field in fields}),
      class_names=args.class_names,
      overwrite=args.overwrite,
    )
  except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
