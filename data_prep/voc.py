"""Prepares PASCAL VOC 2012, with or without SBD's masks.

  python -m data_prep.voc --root=VOCtrainval_11-May-2012.tar \\
    --aug=SegmentationClassAug.zip --data_dir=data

ROOT is the official tar file, which need not be unpacked, or the folder with
its content (VOCdevkit/VOC2012 or a folder above). AUG is a zip file, tar file
or folder of ID.png: the masks of SBD for 9,118 more images, in VOC's classes.

The training set is the 10,582 images of "trainaug", the validation set VOC's
1,449. Masks are VOC's own (SegmentationClass) for the 2,913 images that VOC
annotates, and AUG's for the others; without AUG these have none and serve
unlabeled only. The dataset gets the published splits whose labeled images all
have masks (see splits/README.md). Lists in the tree itself are not read, unless
a partial copy is to be made into a dataset of its own: --lists=tree.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Collection, Mapping, Sequence

from data_prep import (
  command,
  examples,
  orientation,
  split_lists,
  voc_files,
  writer,
)
from u2pl_jax.data import datasets, palettes
from u2pl_jax.runtime import command_line

LISTS = ("published", "tree")

# The published split whose labeled images are VOC's own training set.
_OWN_TRAIN = "1464"
_MAX_IDS_SHOWN = 5


def prepare(
  root: str | pathlib.Path,
  *,
  data_dir: str | pathlib.Path,
  name: str = "voc",
  aug: str | pathlib.Path | None = None,
  lists: str = "published",
  overwrite: bool = False,
) -> pathlib.Path:
  """Makes the dataset `name` of PASCAL VOC 2012.

  Args:
    root: VOC's tar file, or a folder that holds its content.
    data_dir: folder of all datasets.
    name: the dataset's name: small letters, digits and underscores.
    aug: zip file, tar file or folder of SegmentationClassAug.
    lists: "published" for the published splits of the whole dataset; "tree"
      for the lists that the tree has, of whatever part of VOC is there.
    overwrite: whether to replace a dataset of this name.

  Returns:
    The dataset's folder.

  Raises:
    ValueError: files are missing or faulty; the message names all of them.
    OSError: something cannot be read, or the dataset cannot be written.
  """
  writer.check_target(name, data_dir, overwrite)
  if lists not in LISTS:
    raise ValueError(f"lists {lists!r}: must be {' or '.join(LISTS)}")
  files = voc_files.find_files(root, aug)
  published = split_lists.read(split_lists.FOLDERS["pascal"])
  own = {*published.splits[_OWN_TRAIN][0], *published.val}
  source = _read_source(files, published, own, lists)
  with writer.preparation_lock(data_dir):
    path = writer.write_dataset(
      source, name=name, data_dir=data_dir, overwrite=overwrite
    )
  print(format_shares(source.split_lists, own & files.official.keys()))
  if lists == "published":
    _print_what_was_left_out(files, published, source, own)
  return path


def _print_what_was_left_out(
  files: voc_files.Files,
  published: split_lists.SplitLists,
  source: writer.Source,
  own: set[str],
):
  splits = [s for s in published.splits if s not in source.split_lists]
  if splits:
    print(
      f"Without the splits {', '.join(splits)}: some of their labeled images "
      f"have no mask of VOC's own. --aug=PATH of {voc_files.AUG} brings the "
      "others."
    )
  unused = files.official.keys() - own
  if unused:
    print(
      f"Not used: {len(unused):,} masks in {voc_files.OFFICIAL} of images that "
      "VOC does not annotate. --aug=PATH of a folder takes such masks."
    )


def _read_source(
  files: voc_files.Files,
  published: split_lists.SplitLists,
  own: set[str],
  lists: str,
) -> writer.Source:
  """Pairs images with masks and finds what is missing."""
  masks = {i: file for i, file in files.official.items() if i in own}
  masks = {**files.aug, **masks}
  if lists == "tree":
    # Who puts other masks there wants them used.
    masks = {**files.official, **masks}
    wanted, problems = _read_tree_lists(files, masks.keys())
  else:
    # Without SBD's masks, these images are known to have none.
    expected = own if files.aug_root is None else {*published.train, *own}
    splits = {
      split: pair
      for split, pair in published.splits.items()
      if expected.issuperset(pair[0])
    }
    wanted = dataclasses.replace(published, splits=splits)
    problems = _find_missing_masks(files, expected, masks.keys(), own)
  problems = _find_missing_images(files, wanted, lists) + problems
  return writer.Source(
    class_names=palettes.VOC_NAMES,
    palette=palettes.voc_palette(len(palettes.VOC_NAMES)),
    examples={
      split: [
        examples.RawExample(
          i, files.images[i], examples.id_mask(masks[i]) if i in masks else None
        )
        for i in ids
        if i in files.images
      ]
      for split, ids in (("train", wanted.train), ("val", wanted.val))
    },
    split_lists=wanted.splits,
    parameters={
      "source": "voc",
      "root": files.root,
      "aug": files.aug_root,
      "lists": lists,
    },
    problems=problems,
    mask_orientation=orientation.STORED,  # VOC's own tools know no tags.
  )


def _read_tree_lists(
  files: voc_files.Files, with_mask: Collection[str]
) -> tuple[split_lists.SplitLists, list[str]]:
  """Reads the tree's lists; returns them and what is wrong with them.

  The only split is train against the rest of trainaug, where there is such.

  Raises:
    ValueError: a list is missing or is not text.
  """
  for name in ("train", "val"):
    if name not in files.lists:
      raise ValueError(
        f"{files.root}: no {voc_files.TREE_LISTS}/{name}.txt in it"
      )
  names = [n for n in ("train", "trainaug", "val") if n in files.lists]
  listed = {n: files.lists[n].name for n in names}
  ids = {
    n: datasets.parse_id_list(files.lists[n].read(), listed[n]) for n in names
  }
  problems = []
  for n in names:
    problems += datasets.find_duplicates(ids[n], listed[n])
    if not ids[n]:
      problems.append(f"{listed[n]}: the list is empty")
  whole = "trainaug" if "trainaug" in ids else "train"
  train = set(ids[whole])
  for i in dict.fromkeys(ids["val"]):
    if i in train:
      problems.append(
        f"id {i!r} is both in {listed[whole]} and {listed['val']}"
      )
    if i not in with_mask:
      problems.append(f"{listed['val']}: id {i!r} has no mask")
  splits = {}
  labeled = set(ids["train"])
  if train - labeled:
    unlabeled = [i for i in ids[whole] if i not in labeled]
    splits[str(len(labeled))] = (ids["train"], unlabeled)
  for i in dict.fromkeys(ids["train"]):
    if i not in train:
      problems.append(f"{listed['train']}: id {i!r} is not in {listed[whole]}")
    if i not in with_mask:
      problems.append(f"{listed['train']}: id {i!r} has no mask")
  lists = split_lists.SplitLists(tuple(ids[whole]), tuple(ids["val"]), splits)
  return lists, problems


def _find_missing_images(
  files: voc_files.Files, wanted: split_lists.SplitLists, lists: str
) -> list[str]:
  ids = [*wanted.train, *wanted.val]
  hint = ""
  if lists == "published":
    hint = (
      "; to make a dataset of what the tree's own lists name, give --lists=tree"
    )
  return _format_missing(
    f"{voc_files.IMAGES} of {files.root}", ids, files.images, hint
  )


def _find_missing_masks(
  files: voc_files.Files,
  expected: set[str],
  present: Collection[str],
  own: set[str],
) -> list[str]:
  where = f"{voc_files.OFFICIAL} of {files.root}"
  if files.aug_root is not None:
    where += f" and {files.aug_root}"
  problems = _format_missing(where, sorted(expected & own), present)
  if files.aug_root is not None:
    problems += _format_missing(files.aug_root, sorted(expected - own), present)
  return problems


def _format_missing(
  where: str, ids: Sequence[str], present: Collection[str], hint: str = ""
) -> list[str]:
  """Returns one line about all `ids` that are not present, if there are."""
  missing = [i for i in ids if i not in present]
  if not missing:
    return []
  shown = ", ".join(missing[:_MAX_IDS_SHOWN])
  more = ", ..." if len(missing) > _MAX_IDS_SHOWN else ""
  return [
    f"{where}: {len(missing):,} of {len(ids):,} files missing: {shown}{more}"
    f"{hint}"
  ]


def format_shares(
  splits: Mapping[str, tuple[Sequence[str], Sequence[str]]],
  official: Collection[str],
) -> str:
  """Formats how many labeled images have VOC's own masks, by split.

  SBD's masks are coarser and have no ignored borders, and published splits of
  one size draw different shares of them.

  Args:
    splits: (labeled, unlabeled) ids, by split.
    official: ids of the images whose masks are VOC's own.
  """
  lines = ["  labeled images with masks of VOC's own, not SBD's"]
  for split, (labeled, _) in splits.items():
    count = sum(i in official for i in labeled)
    share = 100 * count / max(1, len(labeled))
    lines.append(f"  {split:>6}{count:>7} of {len(labeled)}{share:>8.1f} %")
  return "\n".join(lines)


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = command_line.make_parser("data_prep.voc", __doc__)
  parser.add_argument(
    "--root",
    required=True,
    help="VOCtrainval_11-May-2012.tar, or the folder with its content",
  )
  parser.add_argument(
    "--aug", help=f"zip file, tar file or folder of {voc_files.AUG}/ID.png"
  )
  parser.add_argument(
    "--lists",
    choices=LISTS,
    default="published",
    help="published: all of VOC and the published splits (default); tree: "
    "what train.txt, trainaug.txt and val.txt of the tree name",
  )
  command.add_target_arguments(parser, name="voc")
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
  args = _parse_args(argv)
  return command.run(lambda: prepare(**vars(args)))


if __name__ == "__main__":
  sys.exit(main())
