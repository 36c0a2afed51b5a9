"""Finds the text files that list images, one a line, and their splits."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from data_prep.layouts import files, tree

# Where lists are, unless the user says so; the first that holds one counts.
_PLACES = ("ImageSets/Segmentation", "ImageSets", "", "lists")
# Where splits are, and lists with them.
_SPLIT_PLACES = ("splits", "partitions")
_TRAIN = ("trainaug", "train", "training", "train_list", "trainlist")
_VAL = ("val", "valid", "validation", "val_list", "vallist")
_TEST = ("test", "testing", "test_list", "testlist")
_DEFAULT = ("default",)

SplitFiles = Mapping[str, tuple[pathlib.Path, pathlib.Path]]


@dataclasses.dataclass(frozen=True)
class Lists:
  """The files of lists.

  Attributes:
    train: lists of training images; none if only `splits` say which they are.
    val: list of validation images, if there is one.
    test: list of test images, if there is one.
    splits: the lists of labeled and unlabeled images, by split.
  """

  train: Sequence[pathlib.Path]
  val: pathlib.Path | None
  test: pathlib.Path | None
  splits: SplitFiles

  @property
  def files(self) -> list[pathlib.Path]:
    """All lists that there are or should be."""
    pairs = [file for pair in self.splits.values() for file in pair]
    return [*self.train, *([self.val] if self.val else []), *pairs]


def exist(listing: files.Listing, options: tree.Options) -> bool:
  """Whether lists say which images are to train on."""
  lists = find(listing, options)
  return any(file.is_file() for file in (*lists.train, *lists.files))


def find(listing: files.Listing, options: tree.Options) -> Lists:
  """Finds the lists of a tree.

  A list that the user names is among them, whether or not there is such.

  Raises:
    ValueError: there are splits of several kinds.
  """
  root = listing.root
  split_folder = _find_split_folder(root, options)
  splits = _find_splits(split_folder)
  places = [options.lists] if options.lists else list(_PLACES)
  folders = [root / place for place in places]
  if not options.lists:
    folders += [split_folder, split_folder.parent]
  named = [_text_files(folder) for folder in folders]
  train = _find_train(folders, named, options.train_list)
  val = _find_named(folders, named, options.val_list, _VAL)
  if not train and not splits:
    # That is where today's lists are; the message names this one.
    train = [folders[0] / f"{options.train_list or 'train'}.txt"]
  return Lists(
    train=train,
    val=val,
    test=_find_named(folders, named, "", _TEST),
    splits=splits,
  )


def _text_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """The lists right in `folder`, by their names in small letters."""
  if not folder.is_dir():
    return {}
  paths = [p for p in sorted(folder.iterdir()) if not files.is_hidden(p.name)]
  return {p.stem.lower(): p for p in paths if p.suffix.lower() == ".txt"}


def _find_named(
  folders: Sequence[pathlib.Path],
  named: Sequence[Mapping[str, pathlib.Path]],
  given: str,
  usual: Sequence[str],
) -> pathlib.Path | None:
  """The list of the name `given`, else the first of a usual name."""
  if given:
    found = (f / f"{given}.txt" for f in folders)
    return next((p for p in found if p.is_file()), folders[0] / f"{given}.txt")
  return next((n[name] for n in named for name in usual if name in n), None)


def _find_train(
  folders: Sequence[pathlib.Path],
  named: Sequence[Mapping[str, pathlib.Path]],
  given: str,
) -> list[pathlib.Path]:
  train = _find_named(folders, named, given, _TRAIN)
  # CVAT's images that are in none of the subsets a user named.
  default = None if given else _find_named(folders, named, "", _DEFAULT)
  return [file for file in (train, default) if file]


def _find_split_folder(
  root: pathlib.Path, options: tree.Options
) -> pathlib.Path:
  """The folder of the folders of splits."""
  if options.splits:
    return root / options.splits
  folder = next((root / p for p in _SPLIT_PLACES if (root / p).is_dir()), None)
  if folder is None:
    return root / _SPLIT_PLACES[0]
  # Repositories keep splits of several datasets: splits/pascal/1_8.
  above = [
    path
    for path in files.list_folders(folder)
    if not _is_split(path) and any(map(_is_split, files.list_folders(path)))
  ]
  if len(above) > 1:
    names = "|".join(p.relative_to(root).as_posix() for p in above)
    raise ValueError(
      f"{folder}: splits of several kinds; give --splits={names}"
    )
  return above[0] if above else folder


def _is_split(folder: pathlib.Path) -> bool:
  return any(
    (folder / f"{kind}.txt").exists() for kind in ("labeled", "unlabeled")
  )


def _find_splits(folder: pathlib.Path) -> SplitFiles:
  """The two lists of each split, by its name."""
  found = {s.name: s for s in files.list_folders(folder)}
  for single in (folder, folder.parent):
    if _is_split(single):
      found.setdefault("own", single)
  return {
    name: (path / "labeled.txt", path / "unlabeled.txt")
    for name, path in found.items()
  }
