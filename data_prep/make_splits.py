"""Draws labeled images for semi-supervised splits of a prepared dataset.

  python -m data_prep.make_splits --name=camvid --data_dir=data \\
    --labeled=1/16 --labeled=0.125 --labeled=53 --seed=0

This command adds the splits 1_16, 1_8 and 53 to the dataset. A number with a
point or a slash is a share of the training images that have masks, any other
number a count. All other training images serve unlabeled.

A seed puts the images in one order, and a split takes as many of the first as
it needs; so of two splits of a seed the smaller lies within the larger. The
order starts with as few images as show every class (a smallest set cover, drawn
among all of that size) and goes on at random. Hence every class occurs in every
split, and a split that is too small for that is refused.

Without --labeled this command checks the splits of the dataset and shows their
table.
"""

import argparse
import fractions
import io
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import command, split_lists, split_order, writer
from u2pl_jax.data import datasets, image_files
from u2pl_jax.runtime import command_line, progress

_TEMPORARY = ".incomplete_splits"


def make_splits(
  name: str,
  data_dir: str | pathlib.Path,
  *,
  labeled: Sequence[str],
  seed: int = 0,
  prefix: str = "",
) -> list[str]:
  """Adds splits to the prepared dataset `name`, all or none of them.

  Args:
    name: the dataset's name.
    data_dir: folder of all datasets.
    labeled: for each split how many labeled images: a share of those with
      masks ("0.125" or "1/8"), or a count ("53").
    seed: non-negative; fixes the draw.
    prefix: goes in front of the splits' names, which are 1_8 for a share, 53
      for a count, and end in _seedN for another seed than 0.

  Returns:
    The names of the splits. One that is already there as it would be made is
    left alone.

  Raises:
    FileExistsError: the dataset has such a split with other images.
    FileNotFoundError: there is no such dataset.
    ValueError: an argument is unusable, or a count is too small to show every
      class; the message names the missing classes and the least count.
    OSError: the dataset cannot be read or written.
  """
  if seed < 0 or not re.fullmatch("[a-z0-9_]*", prefix):
    raise ValueError(
      f"seed {seed} must not be negative, and prefix {prefix!r} must hold "
      "small letters, digits and _ only"
    )
  dataset = datasets.open_dataset(name, data_dir)
  masked = np.flatnonzero(dataset.has_label["train"])
  counts = {}
  for text in labeled:
    split, count = parse_amount(text, len(masked))
    split = prefix + split + (f"_seed{seed}" if seed else "")
    if split in counts:
      raise ValueError(f"--labeled={text}: the split {split} is given twice")
    counts[split] = count
  with writer.preparation_lock(data_dir):
    presence = read_presence(dataset)
    order, num_cover = split_order.order_masked(presence, masked, seed)
    for count in counts.values():
      _check_count(dataset, presence, order, count, num_cover)
    lists = {
      split: to_lists(dataset.ids["train"], order[:count])
      for split, count in counts.items()
    }
    write_splits(dataset, lists)
  print(format_table(dataset, presence, lists))
  print(f"{', '.join(lists)}: in {dataset.path / 'lists'}")
  return list(lists)


def check_splits(name: str, data_dir: str | pathlib.Path) -> None:
  """Checks all splits of a prepared dataset and prints their table.

  Raises:
    FileNotFoundError: there is no such dataset.
    ValueError: lists are not disjoint, or name unknown images, images twice or
      labeled images without masks; the message names all of them.
  """
  dataset = datasets.open_dataset(name, data_dir)
  ids = dataset.ids["train"]
  with_mask = {i for i, has in zip(ids, dataset.has_label["train"]) if has}
  lists = {}
  problems = []
  for split in datasets.list_splits(dataset):
    folder = dataset.path / "lists" / split
    files = (folder / "labeled.txt", folder / "unlabeled.txt")
    lists[split] = tuple(datasets.read_id_list(file) for file in files)
    problems += datasets.find_split_problems(
      *lists[split], files=files, known=frozenset(ids), with_mask=with_mask
    )
  if problems:
    raise writer.DataError(problems)
  print(format_table(dataset, read_presence(dataset), lists))


def parse_amount(text: str, total: int) -> tuple[str, int]:
  """Reads how many of `total` images to label.

  Args:
    text: a share in (0, 1] with a point or a slash, or a count.
    total: the images that have masks.

  Returns:
    The name of the split and the number of images, to the nearest, halves up.

  Raises:
    ValueError: the text is neither, or not within 1 and `total` images.
  """
  try:
    amount = fractions.Fraction(text)
  except (ValueError, ZeroDivisionError):
    raise ValueError(
      f"--labeled={text}: must be a share like 0.125 or 1/8, or a count"
    ) from None
  if "." in text or "/" in text:
    name = f"{amount.numerator}_{amount.denominator}"
    amount = (amount * total + fractions.Fraction(1, 2)).__floor__()
  else:
    name = str(amount)
  if not 1 <= amount <= total:
    raise ValueError(
      f"--labeled={text}: must come to 1 to {total} images, the training "
      f"images that have masks, not {amount}"
    )
  return name, int(amount)


def read_presence(dataset: datasets.Dataset) -> np.ndarray:
  """Reads which classes the training masks show: bool [n, K]."""
  undecoded = tfds.decode.SkipDecoding()
  records = tfds.builder_from_directory(dataset.path).as_data_source(
    "train", decoders={"image": undecoded, "label": undecoded}
  )
  bar = progress.Progress(f"reading the masks of {dataset.name}", len(records))
  presence = np.zeros((len(records), dataset.num_classes), bool)
  for i in range(len(records)):
    with image_files.unlimited:
      label = np.asarray(Image.open(io.BytesIO(records[i]["label"])))
    counts = np.bincount(label.ravel(), minlength=256)
    presence[i] = counts[: dataset.num_classes] > 0
    bar.advance()
  return presence


def _check_count(
  dataset: datasets.Dataset,
  presence: np.ndarray,
  order: np.ndarray,
  count: int,
  num_cover: int,
):
  """Raises ValueError if the first `count` images of `order` are no split."""
  if count < num_cover:
    lacking = presence.any(axis=0) & ~presence[order[:count]].any(axis=0)
    names = [dataset.class_names[i] for i in np.flatnonzero(lacking)]
    raise ValueError(
      f"{count} labeled images cannot show every class; {num_cover} is the "
      f"least number that can. This draw would lack {', '.join(names)}"
    )
  if count == len(presence):
    raise ValueError(f"{count} labeled images leave none unlabeled")


def to_lists(
  ids: Sequence[str], records: np.ndarray
) -> tuple[list[str], list[str]]:
  """Returns the ids of the labeled `records` and all others, in order."""
  is_labeled = np.zeros(len(ids), bool)
  is_labeled[records] = True
  return (
    [i for i, labeled in zip(ids, is_labeled) if labeled],
    [i for i, labeled in zip(ids, is_labeled) if not labeled],
  )


def write_splits(
  dataset: datasets.Dataset,
  lists: Mapping[str, tuple[Sequence[str], Sequence[str]]],
):
  """Writes the splits beside the dataset, then moves each into it whole.

  The caller holds `writer.preparation_lock`.

  Args:
    dataset: the dataset that gets them.
    lists: (labeled, unlabeled) ids, by split.

  Raises:
    FileExistsError: the dataset has such a split with other images.
    ValueError: lists are faulty.
    OSError: writing failed.
  """
  existing = datasets.list_splits(dataset)
  new = {s: pair for s, pair in lists.items() if s not in existing}
  for split in lists.keys() - new.keys():
    _check_same(dataset, split, lists[split])
  ids = dataset.ids["train"]
  with_mask = {i for i, has in zip(ids, dataset.has_label["train"]) if has}
  folder = dataset.path / "lists"
  problems = []
  for split, pair in new.items():
    problems += split_lists.find_problems(
      folder / split, *pair, set(ids), with_mask
    )
  if problems:
    raise writer.DataError(problems)
  # Not in `lists`, where an unfinished split would count as one.
  temporary = dataset.path.with_name(_TEMPORARY)
  shutil.rmtree(temporary, ignore_errors=True)
  try:
    temporary.mkdir()
    writer.write_lists(new, temporary)
    folder.mkdir(exist_ok=True)
    for split in new:
      os.rename(temporary / split, folder / split)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _check_same(
  dataset: datasets.Dataset,
  split: str,
  lists: tuple[Sequence[str], Sequence[str]],
):
  """Raises FileExistsError if `split` is there with other images."""
  folder = dataset.path / "lists" / split
  for kind, ids in zip(("labeled", "unlabeled"), lists):
    if set(datasets.read_id_list(folder / f"{kind}.txt")) != set(ids):
      raise FileExistsError(
        f"{folder} exists and holds other images; remove it, or give another "
        "--seed or a --prefix"
      )


def format_table(
  dataset: datasets.Dataset,
  presence: np.ndarray,
  lists: Mapping[str, tuple[Sequence[str], Sequence[str]]],
) -> str:
  """Formats how many labeled images of each split show each class.

  Args:
    dataset: names the classes and the images.
    presence: [n, K] bool, the classes that each training mask shows.
    lists: (labeled, unlabeled) ids, by split.
  """
  record = {i: n for n, i in enumerate(dataset.ids["train"])}
  splits = sorted(lists, key=lambda s: len(lists[s][0]))
  labeled = {s: [record[i] for i in lists[s][0]] for s in splits}
  width = max(18, *(len(name) + 4 for name in dataset.class_names))
  cell = max(10, *(len(s) + 2 for s in splits)) if splits else 10

  def row(title, cells):
    return f"  {title:<{width}}" + "".join(f"{c:>{cell}}" for c in cells)

  total = len(presence)
  used = {s: len(set(lists[s][0]) | set(lists[s][1])) for s in splits}
  lines = [
    row("", ["all masks", *splits]),
    row(
      "labeled images",
      [sum(dataset.has_label["train"]), *(len(labeled[s]) for s in splits)],
    ),
    row("unlabeled images", ["", *(len(lists[s][1]) for s in splits)]),
    row("in neither list", ["", *(total - used[s] for s in splits)]),
    "  labeled images that show",
  ]
  shown = [presence.sum(axis=0), *(presence[labeled[s]].sum(0) for s in splits)]
  for i, name in enumerate(dataset.class_names):
    lines.append(row(f"{i:>3} {name}", [counts[i] for counts in shown]))
  return "\n".join(lines)


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = command_line.make_parser("data_prep.make_splits", __doc__)
  parser.add_argument("--name", required=True, help="name of the dataset")
  parser.add_argument(
    "--data_dir", required=True, help="folder that holds all datasets"
  )
  parser.add_argument(
    "--labeled",
    action="append",
    default=[],
    help="share (0.125 or 1/8) of the images with masks, or number of images "
    "(53); may be given several times",
  )
  parser.add_argument(
    "--seed", type=int, default=0, help="of the draw; default: 0"
  )
  parser.add_argument(
    "--prefix", default="", help="prefix of the splits' names"
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
  args = _parse_args(argv)
  if not args.labeled:
    return command.run(lambda: check_splits(args.name, args.data_dir))
  return command.run(
    lambda: make_splits(
      args.name,
      args.data_dir,
      labeled=args.labeled,
      seed=args.seed,
      prefix=args.prefix,
    )
  )


if __name__ == "__main__":
  sys.exit(main())
