"""New masks of images that a prepared dataset holds, as tools export them.

The folder holds masks alone, or images too, which are not read: those of the
dataset count. It is an unpacked export of CVAT ("Segmentation mask 1.1") or of
Label Studio (brush labels as PNG, with the JSON export), or a folder of masks,
by itself or called masks.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

import u2pl_jax
from data_prep import class_table, examples, folder_classes
from data_prep.layouts import endings, files, label_studio, listed, tree
from u2pl_jax.data import datasets, matching
from u2pl_jax.predict.annotation import labels

_PLAIN = "masks"
_NOWHERE = -1  # Of a class that the dataset does not have.


@dataclasses.dataclass(frozen=True)
class Found:
  """What is in a folder.

  Attributes:
    title: what people call its layout.
    entries: the masks; ids and images are those of the dataset.
    problems: what is wrong with names, one line each.
  """

  title: str
  entries: Sequence[tree.Entry]
  problems: Sequence[str]


def find(
  root: pathlib.Path, dataset: datasets.Dataset, options: tree.Options
) -> Found:
  """Finds the masks in a folder, and the training images that they are of.

  Args:
    root: the folder.
    dataset: the dataset whose images they are of.
    options: `masks` and `mask_suffix` count.

  Raises:
    ValueError: there are no masks, or Label Studio's export lacks its JSON.
    OSError: the folder cannot be read.
  """
  listing = files.read(root)
  if label_studio.fits(listing, options):
    title = label_studio.TITLE
    named, problems = label_studio.find_masks(listing)
  else:
    title, folder = _choose_folder(root, options.masks)
    named, problems = _find_files(folder, options.mask_suffix)
  if not named and not problems:
    raise ValueError(
      f"{root}: there are no masks (.png, ...) in it, nor in a folder "
      f"{_PLAIN} or {listed.MASKS}; name their folder by --masks=FOLDER"
    )
  entries, more = _identify(named, dataset)
  return Found(title, entries, [*problems, *more])


def _choose_folder(root: pathlib.Path, given: str) -> tuple[str, pathlib.Path]:
  """What people call the layout, and where its masks are."""
  if given:
    return "masks", root / given
  if (root / listed.MASKS).is_dir():
    return "CVAT or VOC", root / listed.MASKS
  return "masks", root / _PLAIN if (root / _PLAIN).is_dir() else root


def _find_files(
  folder: pathlib.Path, suffix: str
) -> tuple[list[tree.Entry], list[str]]:
  """The masks of a folder, with their names as ids, and problems."""
  entries, problems = [], []
  for name, paths in files.index(folder, endings.MASKS).items():
    if len(paths) > 1:
      shown = " and ".join(map(str, paths))
      problems.append(f"{name!r} has several masks: {shown}; keep one")
    name = name.removesuffix(suffix)
    entries.append(tree.Entry(name, paths[0], paths[0]))
  return entries, problems


def _identify(
  named: Sequence[tree.Entry], dataset: datasets.Dataset
) -> tuple[list[tree.Entry], list[str]]:
  """Entries by the ids of the dataset, and problems."""
  train, val = dataset.ids["train"], set(dataset.ids["val"])
  index = matching.Index([*train, *val])
  entries, problems, taken = [], [], {}
  for entry in named:
    mask = entry.mask or entry.layers[0][1]
    found = index.find(entry.id)
    if not found:
      problems.append(
        f"{mask}: no image of {dataset.name} is called {entry.id!r}; name the "
        "mask as its image is, or prepare a dataset that has the image"
      )
    elif len(found) > 1:
      problems.append(
        f"{mask}: may be of {' or '.join(map(repr, found))}; give it the whole "
        "path of its image"
      )
    elif found[0] in val:
      problems.append(
        f"{mask}: is of a validation image of {dataset.name}, which stays as "
        "it is; leave the mask out"
      )
    elif found[0] in taken:
      problems.append(
        f"{mask}: is of image {found[0]!r}, as {taken[found[0]]} is; keep one"
      )
    else:
      taken[found[0]] = mask
      image = pathlib.Path(found[0])
      entries.append(dataclasses.replace(entry, id=found[0], image=image))
  return entries, problems


def read_classes(
  root: pathlib.Path,
  found: Found,
  dataset: datasets.Dataset,
  options: folder_classes.Options,
) -> class_table.ClassTable:
  """What the masks mean: by their own file of classes, or as the dataset's did.

  Raises:
    ValueError, OSError: see `folder_classes.read`.
  """
  as_tree = tree.Tree(found.title, found.entries, None, (root,))
  file = folder_classes.find_file(root, as_tree, options)
  has_layers = any(entry.layers for entry in found.entries)
  if file or options.class_names or has_layers:
    return folder_classes.read(as_tree, file, options)
  return class_table.adjust(
    _as_before(dataset, is_binary=options.mask_values == "binary"),
    mask_values=options.mask_values,
    values=options.values,
    threshold=options.threshold,
    reduce_zero_label=options.reduce_zero_label,
  )


def _as_before(
  dataset: datasets.Dataset, is_binary: bool
) -> class_table.ClassTable:
  """What the values and colors of the dataset's own masks were taken for."""
  said = dict(dataset.parameters.get("class_map", {}))
  threshold = said.pop("threshold", class_table.THRESHOLD)
  values = {int(k): v for k, v in said.items() if not k.startswith("#")}
  colors = {
    tuple(bytes.fromhex(k[1:])): v for k, v in said.items() if k[:1] == "#"
  }
  mask_values = dataset.parameters.get("mask_values", "")
  if not values and mask_values in ("", "ids") and not is_binary:
    # As `predict` writes them; 255 is ignored, even of two classes.
    values = {i: i for i in (*range(dataset.num_classes), 255)}
  return class_table.ClassTable(
    names=dataset.class_names,
    palette=dataset.palette,
    mask_values=mask_values,
    ids_by_color=colors,
    ids_by_value=values,
    threshold=threshold,
  )


def make_reader(table: class_table.ClassTable, dataset: datasets.Dataset):
  """Returns a function from an entry to its mask, in ids of the dataset.

  Classes are the same if they have the same name. Pixels that are labeled
  unsure, and background where the dataset has no such class, are ignored.

  Args:
    table: what the masks mean.
    dataset: whose classes count.
  """
  read_mask = folder_classes.make_reader(table)
  lookup = np.full(256, u2pl_jax.IGNORE_LABEL, np.int16)
  lookup[: len(table.names)] = [
    _find_class(name, dataset.class_names) for name in table.names
  ]

  def to_mask(entry: tree.Entry) -> examples.Mask:
    mask = read_mask(entry)
    return examples.Mask(mask.name, lambda: translate(mask))

  def translate(mask: examples.Mask) -> examples.Labels:
    found = mask.read()
    ids = lookup[found.ids]
    if (ids == _NOWHERE).any():
      name = table.names[found.ids[ids == _NOWHERE][0]]
      raise examples.ProblemError(
        f"{mask.name}: holds class {name!r}, which {dataset.name} does not "
        f"have ({', '.join(dataset.class_names)}); name it so there, or give "
        "--values or --class_names"
      )
    is_same = np.array_equal(ids, found.ids)
    return dataclasses.replace(
      found, ids=ids.astype(np.uint8), png=found.png if is_same else None
    )

  return to_mask


def _find_class(name: str, class_names: Sequence[str]) -> int:
  """The class of that name in the dataset; 255, or `_NOWHERE`, for none."""
  if name in class_names:
    return class_names.index(name)
  lower = [known.lower() for known in class_names]
  if name.lower() in lower:
    return lower.index(name.lower())
  is_none = name.lower() in (labels.UNSURE, labels.BACKGROUND)
  return u2pl_jax.IGNORE_LABEL if is_none else _NOWHERE
