"""Makes a dataset of another one and new masks of its training images."""

import pathlib
from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from data_prep import (
  added_masks,
  examples,
  folder_classes,
  writer,
)
from data_prep.layouts import tree
from u2pl_jax.data import datasets

ALL = "all"  # The split whose labeled images are all that have masks.

Lists = tuple[Sequence[str], Sequence[str]]


def prepare(
  root: str | pathlib.Path,
  *,
  add_to: str,
  name: str,
  data_dir: str | pathlib.Path,
  layout: tree.Options = tree.Options(),
  classes: folder_classes.Options = folder_classes.Options(),
  overwrite: bool = False,
) -> pathlib.Path:
  """Makes the dataset `name`: `add_to` with the masks in `root`.

  Images, classes, class map and validation stay as they are. A mask of an image
  that has one takes its place. Splits stay, too, but for "all", which labels
  every image that has a mask.

  Args:
    root: the folder of the masks; see `added_masks`.
    add_to: name of the dataset whose images they are of.
    name: of the new dataset; may be the same, with `overwrite`.
    data_dir: folder of all datasets.
    layout: what the user says about where masks are.
    classes: what the user says about classes.
    overwrite: whether to replace a dataset of this name.

  Returns:
    The new dataset's folder.

  Raises:
    ValueError: files or names are faulty; the message names all of them.
    OSError: there is no such folder or dataset, or one of the new name, or it
      cannot be written.
  """
  root = pathlib.Path(root).expanduser()
  if not root.is_dir():
    raise FileNotFoundError(f"{root}: no such folder")
  dataset = datasets.open_dataset(add_to, data_dir)
  writer.check_target(name, data_dir, overwrite)
  found = added_masks.find(root, dataset, layout)
  table = added_masks.read_classes(root, found, dataset, classes)
  source = _to_source(root, dataset, found, table)
  print(
    f"recognized: {found.title}: {len(found.entries)} masks of images of "
    f"{add_to}, of which {_count_replaced(dataset, found)} have one already"
  )
  if ALL not in source.split_lists:
    print(
      f"  every training image has a mask, and split {ALL} needs some without: "
      "prepare the data anew with --unlabeled=FOLDER"
    )
  with writer.preparation_lock(data_dir):
    return writer.write_dataset(
      source, name=name, data_dir=data_dir, overwrite=overwrite
    )


def _count_replaced(dataset: datasets.Dataset, found: added_masks.Found) -> int:
  ids, has_label = dataset.ids["train"], dataset.has_label["train"]
  with_mask = {i for i, has in zip(ids, has_label, strict=True) if has}
  return sum(entry.id in with_mask for entry in found.entries)


def _to_source(root, dataset, found, table) -> writer.Source:
  """The dataset with its new masks, of which none is read yet."""
  to_mask = added_masks.make_reader(table, dataset)
  added = {entry.id: to_mask(entry) for entry in found.entries}
  raw = {part: _read_part(dataset, part, added) for part in ("train", "val")}
  record = {
    "root": str(root.resolve()),
    "masks": len(added),
    "to": dataset.name,
  }
  before = dataset.parameters.get("added", [])
  return writer.Source(
    class_names=dataset.class_names,
    palette=dataset.palette,
    examples=raw,
    split_lists=_make_lists(dataset, raw["train"]),
    parameters={**dataset.parameters, "added": [*before, record]},
    problems=found.problems,
  )


def _read_part(
  dataset: datasets.Dataset, part: str, added: Mapping[str, examples.Mask]
) -> list[examples.RawExample]:
  """The examples of a part; their bytes are read when they are needed."""
  undecoded = tfds.decode.SkipDecoding()
  records = tfds.builder_from_directory(dataset.path).as_data_source(
    part, decoders={"image": undecoded, "label": undecoded}
  )

  def to_file(index, key):
    where = f"{dataset.name}, {key} of {dataset.ids[part][index]!r}"
    return examples.File(where, lambda: records[index][key])

  found = []
  for index, example_id in enumerate(dataset.ids[part]):
    mask = None
    if part == "train" and example_id in added:
      mask = added[example_id]
    elif dataset.has_label[part][index]:
      mask = examples.id_mask(to_file(index, "label"))
    image = to_file(index, "image")
    found.append(examples.RawExample(example_id, image, mask))
  return found


def _make_lists(
  dataset: datasets.Dataset, train: Sequence[examples.RawExample]
) -> dict[str, Lists]:
  """The splits that the dataset has, and that of all masks, if there is one."""
  lists = {
    path.name: tuple(
      datasets.read_id_list(path / f"{kind}.txt")
      for kind in ("labeled", "unlabeled")
    )
    for path in datasets.find_split_folders(dataset.path / "lists")
  }
  lists.pop(ALL, None)
  labeled = [raw.id for raw in train if raw.mask is not None]
  unlabeled = [raw.id for raw in train if raw.mask is None]
  return lists | ({ALL: (labeled, unlabeled)} if unlabeled else {})
