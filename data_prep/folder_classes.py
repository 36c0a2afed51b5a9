"""What the masks of a folder mean: from its files, options, or the masks."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

import u2pl_jax
from data_prep import class_files, class_table, examples, masks
from data_prep.layouts import endings, tree
from u2pl_jax.runtime import progress


@dataclasses.dataclass(frozen=True)
class Options:
  """What the user says about classes.

  Attributes:
    classes: file of classes, in the tree or absolute; empty for a usual name.
    class_names: see `class_table.adjust`, as are all others.
    mask_values: see there.
    values: see there.
    threshold: see there.
    reduce_zero_label: see there.
    layout: the layout that the user names.
  """

  classes: str = ""
  class_names: Sequence[str] = ()
  mask_values: str = ""
  values: str = ""
  threshold: int | None = None
  reduce_zero_label: bool = False
  layout: str = ""


def find_file(
  root: pathlib.Path, found: tree.Tree, options: Options
) -> pathlib.Path | None:
  """Returns the file that tells the classes of a tree, if there is one.

  Raises:
    FileNotFoundError: there is no file of the name that is given.
    ValueError: two files say different things.
  """
  if options.class_names and not options.classes:
    return None
  if options.classes:
    return class_files.find(root, options.classes)
  folders = dict.fromkeys((*found.class_folders, root))
  files = [file for file in map(class_files.find, folders) if file]
  return class_files.choose(files) if files else None


def read(
  found: tree.Tree, file: pathlib.Path | None, options: Options
) -> class_table.ClassTable:
  """Returns the classes of a tree; looks at its masks where it has to.

  Args:
    found: the tree.
    file: its file of classes; None where there is none.
    options: what the user says.

  Raises:
    ValueError: what is said does not go together, or the masks can mean
      several things.
    OSError: the file cannot be read.
  """
  table = class_files.read(file) if file else None
  reduces = options.reduce_zero_label
  if found.reduce_zero_label and not reduces and not options.values:
    # A file that speaks of values has said what 0 is.
    reduces = table is None or not table.ids_by_value
    reduces = reduces and options.mask_values in ("", "ids")
  if table is None and not options.class_names:
    table = _of_layers(found)
    if table is None and found.reduce_zero_label and reduces:
      table = _of_largest_value(found)
  is_guess = reduces and not options.reduce_zero_label
  named = options.class_names or (table.names if table else ())
  if is_guess and named and options.layout != "ade20k":
    _check_zero(found, len(named))
  table = class_table.adjust(
    table,
    class_names=options.class_names,
    mask_values=options.mask_values,
    values=options.values,
    threshold=options.threshold,
    reduce_zero_label=reduces,
  )
  if table is None:
    return class_table.of_values(
      _read_values(found),
      mask_values=options.mask_values,
      reduce_zero_label=reduces,
    )
  return masks.settle(
    table, (to_file(e.mask) for e in found.entries if e.mask is not None)
  )


def to_file(path: pathlib.Path) -> examples.File:
  """A file of the disk as a file of a source; an array as PNG."""
  if path.suffix.lower() == endings.ARRAY:
    return examples.File(os.fspath(path), lambda: _encode_array(path))
  return examples.File(os.fspath(path), path.read_bytes)


def _encode_array(path: pathlib.Path) -> bytes:
  """Returns a PNG of the class ids in a file of numpy.

  Raises:
    OSError: it holds something else.
  """
  try:
    array = np.load(path, allow_pickle=False)
  except ValueError as error:
    raise OSError(f"not an array of numbers: {error}") from error
  if array.ndim != 2 or array.dtype.kind not in "iub" or not array.size:
    raise OSError(
      f"an array of shape {array.shape} and dtype {array.dtype}, must be whole "
      "numbers, height x width"
    )
  ids = np.where(array == -1, u2pl_jax.IGNORE_LABEL, array.astype(np.int64))
  if ids.min() < 0 or ids.max() > class_table.MAX_VALUE:
    raise OSError(f"values from {ids.min()} to {ids.max()} are no classes")
  is_small = ids.max() <= np.iinfo(np.uint8).max
  return examples.encode_png(ids.astype(np.uint8 if is_small else np.uint16))


def make_reader(
  table: class_table.ClassTable,
) -> Callable[[tree.Entry], examples.Mask | None]:
  """Returns a function from an image of a tree to its mask, if it has one.

  Raises:
    ValueError: see `masks.make_reader`.
  """
  read_mask = masks.make_reader(table)

  def to_mask(entry: tree.Entry) -> examples.Mask | None:
    if entry.layers:
      layers = [
        (class_table.find_id(name, table.names), to_file(path))
        for name, path in entry.layers
      ]
      return masks.merge_layers(
        layers,
        name=f"the layers of {entry.image}",
        threshold=table.threshold,
      )
    return None if entry.mask is None else read_mask(to_file(entry.mask))

  return to_mask


def read_presence(
  entries: Sequence[tree.Entry], table: class_table.ClassTable
) -> np.ndarray:
  """Reads which classes masks show: bool [n, K].

  A mask that cannot be read shows none; the writing of the dataset says why.
  """
  to_mask = make_reader(table)
  bar = progress.Progress(
    "reading masks to draw validation images", len(entries), patience=2.0
  )
  presence = np.zeros((len(entries), len(table.names)), bool)
  for i, entry in enumerate(entries):
    bar.advance()
    try:
      labels = to_mask(entry).read()
    except examples.ProblemError:
      continue
    counts = np.bincount(labels.ids.ravel(), minlength=256)
    presence[i] = counts[: len(table.names)] > 0
  return presence


def _of_layers(found: tree.Tree) -> class_table.ClassTable | None:
  """The classes that layers of masks are named after, and the background."""
  names = sorted({name for e in found.entries for name, _ in e.layers})
  if not names:
    return None
  background = [n for n in names if n.lower() == class_table.BACKGROUND]
  others = [name for name in names if name not in background[:1]]
  first = background[0] if background else class_table.BACKGROUND
  return class_table.make([first, *others])


def _check_zero(found: tree.Tree, num_classes: int):
  """Raises ValueError if 0 may be the first of the classes that are named."""
  values = _read_values(found) - {255}
  if 0 in values and max(values) < num_classes:
    raise ValueError(
      f"{num_classes} classes are named, and masks hold 0 to {max(values)}: 0 "
      "may be a class or none; give --layout=folders if it is one, else "
      "--reduce_zero_label"
    )


def _of_largest_value(found: tree.Tree) -> class_table.ClassTable:
  """Classes from value 1 to the largest, as of ADE20K, named by values."""
  values = _read_values(found) - {255}
  return class_table.make([f"class {v}" for v in range(1, max(values) + 1)])


def _read_values(found: tree.Tree) -> set[int]:
  """Returns all values of the masks.

  Raises:
    ValueError: there are none, or masks hold colors.
  """
  files = [to_file(e.mask) for e in found.entries if e.mask is not None]
  bar = progress.Progress(
    "reading masks to find their classes", len(files), patience=2.0
  )
  values = set()
  for file in files:
    bar.advance()
    try:
      of_mask = masks.read_values(file)
    except examples.ProblemError:
      continue  # The writing of the dataset says why.
    if of_mask is None:
      raise ValueError(
        f"{file.name}: holds colors, and no file tells which classes they "
        'mean: write classes.json, {"names": [...], "palette": [[r, g, b], '
        "...]}, into the tree, or name another file by --classes=FILE"
      )
    values |= of_mask
  if not values:
    raise ValueError(
      "no mask can be read; name the classes by --class_names=A,B,..."
      if files
      else "there are no masks at all, so that nothing can be learned"
    )
  return values
