"""Opens prepared datasets and resolves their semi-supervised splits.

A prepared dataset is a TFDS dataset in ArrayRecord form, written by
`data_prep`, in the folder `DATA_DIR/NAME/VERSION`. It holds the TFDS splits
`train` and `val`; its `metadata.json` holds class names, palette and the ids
in record order; `lists/SPLIT/{labeled,unlabeled}.txt` name the training images
that a semi-supervised split uses with and without their masks.
"""

import collections
import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

VERSION = "1.0.0"


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared dataset on disk.

  Attributes:
    name: the dataset's name, e.g. "camvid".
    path: the folder that holds the records.
    class_names: [K] names, by class id.
    palette: [K] RGB colors in [0, 255], by class id.
    ignore_label: label of the pixels that count nowhere.
    ids: image ids in record order, by TFDS split ("train", "val").
    has_label: whether each of those images has a mask, by TFDS split.
    files: the ArrayRecord files in record order, by TFDS split.
    contents: SHA-256 digest of ids, images and masks, by TFDS split; empty
      for datasets of version 0.2.0 and before.
    parameters: what the dataset was made from; see `data_prep`.
  """

  name: str
  path: pathlib.Path
  class_names: tuple[str, ...]
  palette: tuple[tuple[int, int, int], ...]
  ignore_label: int
  ids: Mapping[str, tuple[str, ...]]
  has_label: Mapping[str, tuple[bool, ...]]
  files: Mapping[str, tuple[str, ...]]
  contents: Mapping[str, str]
  parameters: Mapping[str, object]

  @property
  def num_classes(self) -> int:
    return len(self.class_names)


@dataclasses.dataclass(frozen=True)
class Split:
  """The training images of one semi-supervised split.

  Attributes:
    name: the split's name, e.g. "1_8".
    labeled: [n_l] int64, records of the TFDS split `train` used with masks.
    unlabeled: [n_u] int64, records of `train` used without masks.
  """

  name: str
  labeled: np.ndarray
  unlabeled: np.ndarray


def dataset_path(name: str, data_dir: str | pathlib.Path) -> pathlib.Path:
  """Returns the folder of dataset `name`, whether or not it exists."""
  return pathlib.Path(data_dir).expanduser() / name / VERSION


def open_dataset(name: str, data_dir: str | pathlib.Path) -> Dataset:
  """Opens the prepared dataset `name` in `data_dir`.

  Raises:
    FileNotFoundError: there is none; the message says how to make it.
    ValueError: the folder holds something else than a dataset of `data_prep`.
  """
  path = dataset_path(name, data_dir)
  if not (path / "dataset_info.json").is_file():
    raise FileNotFoundError(
      f"no prepared dataset {name!r} in {data_dir}; make it with "
      f"`{_preparation_command(name, data_dir)}`"
    )
  info = tfds.builder_from_directory(path).info
  try:
    metadata = dict(info.metadata.items())
    splits = tuple(metadata["ids"])
    return Dataset(
      name=name,
      path=path,
      class_names=tuple(metadata["class_names"]),
      palette=tuple(tuple(color) for color in metadata["palette"]),
      ignore_label=metadata["ignore_label"],
      ids={s: tuple(metadata["ids"][s]) for s in splits},
      has_label={s: tuple(metadata["has_label"][s]) for s in splits},
      files={s: tuple(map(str, info.splits[s].filepaths)) for s in splits},
      contents=metadata.get("contents", {}),
      parameters=metadata["parameters"],
    )
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"{path} was not written by data_prep: metadata.json lacks {error}"
    ) from error


def _preparation_command(name: str, data_dir: str | pathlib.Path) -> str:
  options = {
    "voc": "voc --root=VOCtrainval_11-May-2012.tar"
    " --aug=SegmentationClassAug.zip",
    "cityscapes": "cityscapes --root=FOLDER_OF_BOTH_ZIPS",
    "synthetic": "synthetic",
  }.get(name, f"folder --root=TREE --name={name}")
  return f"python -m data_prep.{options} --data_dir={data_dir}"


def list_splits(dataset: Dataset) -> list[str]:
  """Returns the names of the semi-supervised splits of `dataset`."""
  return [path.name for path in find_split_folders(dataset.path / "lists")]


def find_split_folders(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders of the splits in `folder`, sorted; it may be missing.

  Hidden ones, such as Jupyter leaves behind, are none.
  """
  return sorted(folder.glob("[!.]*/"))


def read_split(dataset: Dataset, split: str) -> Split:
  """Resolves split `split` of `dataset` to records of its `train` part.

  Raises:
    ValueError: there is no such split, or its lists are unusable: an id twice,
      in both lists, unknown, or labeled but without a mask; no labeled or no
      unlabeled image. The message names the id and the file.
  """
  available = list_splits(dataset)
  if split not in available:
    raise ValueError(
      f"dataset {dataset.name!r} has no split {split!r}; it has "
      f"{', '.join(available) or 'none'}"
    )
  folder = dataset.path / "lists" / split
  files = (folder / "labeled.txt", folder / "unlabeled.txt")
  labeled, unlabeled = (read_id_list(file) for file in files)
  ids = dataset.ids["train"]
  problems = find_split_problems(
    labeled,
    unlabeled,
    files=files,
    known=frozenset(ids),
    with_mask={i for i, has in zip(ids, dataset.has_label["train"]) if has},
  )
  if problems:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise ValueError(problems[0] + more)
  record = {example_id: i for i, example_id in enumerate(ids)}
  return Split(
    name=split,
    labeled=np.array([record[i] for i in labeled], np.int64),
    unlabeled=np.array([record[i] for i in unlabeled], np.int64),
  )


def check_unlabeled_masks(dataset: Dataset, split: Split, key: str) -> None:
  """Raises ValueError, one line, if no unlabeled image has a mask.

  Those that have none are labeled 255 everywhere.

  Args:
    dataset: where the images are.
    split: which of them are unlabeled.
    key: of the config, which asks for their masks.
  """
  has_label = np.asarray(dataset.has_label["train"], bool)
  if not has_label[split.unlabeled].any():
    raise ValueError(
      f"{key}=True: no unlabeled image of dataset {dataset.name!r}, split"
      f" {split.name!r}, has a mask; set it to False"
    )


def check_classes(
  dataset: Dataset, names: Sequence[str], origin: str, hint: str = ""
) -> None:
  """Raises ValueError, one line, if a network has other classes.

  Args:
    dataset: what the network is to be used on.
    names: the classes of the network.
    origin: where it comes from; the message begins with it.
    hint: what to do.
  """
  for index, (name, wanted) in enumerate(
    itertools.zip_longest(names, dataset.class_names)
  ):
    if name != wanted:
      raise ValueError(
        f"{origin}: its classes are not those of {dataset.path}; class {index}"
        f" is {name or 'missing'}, not {wanted or 'one of them'}"
        + (f"; {hint}" if hint else "")
      )


def fingerprint(dataset: Dataset, split: Split) -> dict[str, str]:
  """What tells the data of a run from other data.

  Returns:
    A flat dict, JSON-able: name, classes, what the values of masks were taken
    for, and SHA-256 digests of the lists, in order, and of all that is stored.
  """
  ids = {"labeled ids": split.labeled, "unlabeled ids": split.unlabeled}
  train = dataset.ids["train"]
  lists = {key: [train[i] for i in records] for key, records in ids.items()}
  lists["validation ids"] = dataset.ids.get("val", ())
  class_map = dataset.parameters.get("class_map", {})
  contents = {"train": "training contents", "val": "validation contents"}
  return {
    "dataset": dataset.name,
    "classes": ", ".join(dataset.class_names),
    "class map": json.dumps(class_map, sort_keys=True),
    **{key: _digest(names) for key, names in lists.items()},
    **{contents[part]: value for part, value in dataset.contents.items()},
  }


def _digest(lines: Sequence[str]) -> str:
  return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_id_list(path: pathlib.Path) -> list[str]:
  """Reads ids, one a line, from a UTF-8 text file; see `parse_id_list`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is not UTF-8 text.
  """
  try:
    return parse_id_list(path.read_bytes(), path)
  except FileNotFoundError:
    raise FileNotFoundError(f"{path}: no such list") from None


def parse_id_list(content: bytes, file: str | pathlib.Path) -> list[str]:
  """Reads ids, one a line, from the content of a UTF-8 text file.

  Windows line ends, a byte order mark, blank lines, blanks around an id and a
  missing last line end are all accepted; an id may hold blanks.

  Args:
    content: the bytes of the file.
    file: what to call it in messages.

  Raises:
    ValueError: the file is not UTF-8 text.
  """
  try:
    text = content.decode("utf-8-sig")
  except UnicodeDecodeError:
    raise ValueError(f"{file}: not a UTF-8 text file") from None
  lines = (line.strip() for line in text.split("\n"))
  return [line for line in lines if line]


def find_duplicates(ids: Sequence[str], file: pathlib.Path) -> list[str]:
  """Returns one message for each id that `ids`, read from `file`, repeats."""
  counts = collections.Counter(ids)
  return [
    f"{file}: id {i!r} occurs {n} times" for i, n in counts.items() if n > 1
  ]


def find_split_problems(
  labeled: Sequence[str],
  unlabeled: Sequence[str],
  *,
  files: tuple[pathlib.Path, pathlib.Path],
  known: Collection[str],
  with_mask: Collection[str],
) -> list[str]:
  """Returns what is wrong with the two lists of a split, one line each.

  Args:
    labeled: ids to be used with their masks.
    unlabeled: ids to be used without.
    files: the files of the two lists, for the messages.
    known: the ids of all training images.
    with_mask: the ids of those that have a mask.
  """
  problems = []
  for ids, file in zip((labeled, unlabeled), files):
    if not ids:
      problems.append(f"{file}: the list is empty")
    problems += find_duplicates(ids, file)
    problems += [
      f"{file}: id {i!r} is not among the training images"
      for i in dict.fromkeys(ids)
      if i not in known
    ]
  in_labeled = frozenset(labeled)
  problems += [
    f"id {i!r} is both in {files[0]} and in {files[1]}"
    for i in dict.fromkeys(unlabeled)
    if i in in_labeled
  ]
  problems += [
    f"{files[0]}: id {i!r} has no mask"
    for i in dict.fromkeys(labeled)
    if i in known and i not in with_mask
  ]
  return problems
