"""The published splits that come with this package, read and checked."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence

from data_prep import writer
from u2pl_jax.data import datasets

# By dataset; for all others there is data_prep.make_splits.
FOLDERS = {
  name: pathlib.Path(__file__).parent / "splits" / name
  for name in ("pascal", "cityscapes")
}
# Labeled images of other authors' splits; all others of a dataset serve
# unlabeled.
UNIMATCH = pathlib.Path(__file__).parent / "splits" / "unimatch"


@dataclasses.dataclass(frozen=True)
class SplitLists:
  """The images of a dataset and its semi-supervised splits.

  Attributes:
    train: all training images, sorted.
    val: the validation images, in the order of their list.
    splits: (labeled, unlabeled) training images, by split, smallest first;
      behind them those of UniMatch, where they differ, as "unimatch_662".
  """

  train: tuple[str, ...]
  val: tuple[str, ...]
  splits: Mapping[str, tuple[list[str], list[str]]]


def read(folder: pathlib.Path) -> SplitLists:
  """Reads `folder`, which holds val.txt and folders of pairs of lists.

  Each of these is named after its number of labeled images, and each pair
  names all training images.

  Raises:
    FileNotFoundError: a list is missing.
    ValueError: an id occurs twice, in both lists of a pair, or in val.txt
      too; a list is empty; a pair lacks an image that another one has, or has
      another number of labeled images than its name says. Names all faults.
  """
  val_file = folder / "val.txt"
  val = datasets.read_id_list(val_file)
  splits = {}
  for path in sorted(p for p in folder.iterdir() if p.is_dir()):
    files = (path / "labeled.txt", path / "unlabeled.txt")
    splits[path.name] = tuple(datasets.read_id_list(file) for file in files)
  train = {i for lists in splits.values() for ids in lists for i in ids}
  problems = datasets.find_duplicates(val, val_file)
  if not val:
    problems.append(f"{val_file}: the list is empty")
  problems += [
    f"{val_file}: id {i!r} is among the training images"
    for i in dict.fromkeys(val)
    if i in train
  ]
  for name, (labeled, unlabeled) in splits.items():
    problems += find_problems(folder / name, labeled, unlabeled, train)
    if name != str(len(labeled)):
      problems.append(
        f"{folder / name / 'labeled.txt'}: {len(labeled)} images, not the "
        f"{name} of its name"
      )
  if problems:
    raise writer.DataError(problems)
  found = {name: splits[name] for name in sorted(splits, key=int)}
  if folder in FOLDERS.values() and (UNIMATCH / folder.name).is_dir():
    others = read_labeled(UNIMATCH / folder.name, train)
    found |= {f"{UNIMATCH.name}_{name}": pair for name, pair in others.items()}
  return SplitLists(tuple(sorted(train)), tuple(val), found)


def read_labeled(
  folder: pathlib.Path, train: Collection[str]
) -> dict[str, tuple[list[str], list[str]]]:
  """Reads splits of which there are lists of labeled images alone.

  Args:
    folder: of files N.txt with N ids each.
    train: the ids of all training images.

  Returns:
    (labeled, unlabeled) ids by N, smallest first.

  Raises:
    ValueError: a list names an image twice, or one that is not there, or has
      not as many as its name says. Names all faults.
  """
  splits, problems = {}, []
  for path in sorted(folder.glob("*.txt"), key=lambda path: int(path.stem)):
    labeled = datasets.read_id_list(path)
    taken = set(labeled)
    problems += datasets.find_duplicates(labeled, path)
    strangers = sorted(taken.difference(train))
    if strangers:
      problems.append(
        f"{path}: {len(strangers)} of {len(labeled)} images are not among the"
        f" training images, such as {strangers[0]!r}"
      )
    if path.stem != str(len(labeled)):
      problems.append(
        f"{path}: {len(labeled)} images, not the {path.stem} of its name"
      )
    rest = [i for i in sorted(train) if i not in taken]
    splits[path.stem] = (labeled, rest)
  if problems:
    raise writer.DataError(problems)
  return splits


def find_problems(
  folder: pathlib.Path,
  labeled: Sequence[str],
  unlabeled: Sequence[str],
  train: set[str],
  with_mask: set[str] | None = None,
) -> list[str]:
  """Returns what is wrong with a pair of lists that names all of `train`.

  Args:
    folder: where the lists are, for the messages.
    labeled: ids to be used with their masks.
    unlabeled: ids to be used without.
    train: the ids of all training images.
    with_mask: the ids of those that have a mask; default: all.
  """
  files = (folder / "labeled.txt", folder / "unlabeled.txt")
  problems = datasets.find_split_problems(
    labeled,
    unlabeled,
    files=files,
    known=train,
    with_mask=train if with_mask is None else with_mask,
  )
  missing = sorted(train.difference(labeled, unlabeled))
  if missing:
    more = ", ..." if len(missing) > 3 else ""
    problems.append(
      f"{folder}: {len(missing)} of {len(train)} training images are in "
      f"neither list: {', '.join(missing[:3])}{more}"
    )
  return problems
