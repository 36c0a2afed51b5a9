"""Writes checked examples as one TFDS dataset in ArrayRecord form.

The dataset is written to a temporary folder beside its final place and renamed
at the end, so that an interrupted run leaves nothing that looks finished.
"""

import contextlib
import dataclasses
import fcntl
import functools
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source

import u2pl_jax
from data_prep import examples, kept_splits, orientation, summary
from u2pl_jax.data import datasets
from u2pl_jax.runtime import progress

_EXAMPLES_PER_SHARD = 1024
_EXAMPLES_PER_WRITE = 64
_MAX_PROBLEMS_SHOWN = 20
_REPLACED = ".replaced"  # Name of an old dataset until the new one is there.
_FEATURES = {
  "id": tfds.features.Text(),
  "image": tfds.features.Image(shape=(None, None, 3)),
  "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
  "has_label": np.bool_,
}


class DataError(ValueError):
  """The source data cannot be used; the message lists what is wrong."""

  def __init__(self, problems: Sequence[str]):
    self.problems = tuple(problems)
    lines = list(self.problems[:_MAX_PROBLEMS_SHOWN])
    if len(self.problems) > _MAX_PROBLEMS_SHOWN:
      lines.append(f"and {len(self.problems) - _MAX_PROBLEMS_SHOWN} more")
    if len(lines) > 1:
      lines.insert(0, f"{len(self.problems)} problems:")
    super().__init__("\n  ".join(lines))


@dataclasses.dataclass(frozen=True)
class Source:
  """All that goes into a dataset.

  Attributes:
    class_names: [K] names, by class id.
    palette: [K] RGB colors in [0, 255], by class id.
    examples: raw examples in record order, by TFDS split ("train", "val").
    split_lists: (labeled, unlabeled) training ids, by semi-supervised split.
    parameters: what the dataset is made from, for the record; JSON values.
    problems: what is known to be wrong before any image is read.
    value_range: (low, high), what becomes black and white in images of more
      than 8 bits a channel; None refuses these.
    mask_orientation: whether masks were drawn on images as they are "stored" or
      turned "upright" by their tags, where sizes cannot tell; "" has the other
      masks of the dataset tell.
  """

  class_names: Sequence[str]
  palette: Sequence[Sequence[int]]
  examples: Mapping[str, Sequence[examples.RawExample]]
  split_lists: Mapping[str, tuple[Sequence[str], Sequence[str]]]
  parameters: Mapping[str, object]
  problems: Sequence[str] = ()
  value_range: tuple[int, int] | None = None
  mask_orientation: str = ""


@contextlib.contextmanager
def preparation_lock(data_dir: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Makes `data_dir` and keeps other preparations out of it meanwhile.

  Raises:
    OSError: the folder cannot be made.
  """
  folder = pathlib.Path(data_dir).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f"waiting for another preparation in {folder}", file=sys.stderr)
      fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield folder
  finally:
    os.close(descriptor)


def check_target(name: str, data_dir: str | pathlib.Path, overwrite: bool):
  """Raises if dataset `name` cannot be written to `data_dir`.

  Raises:
    ValueError: the name is unusable.
    FileExistsError: there is such a dataset, and `overwrite` is False.
  """
  if not re.fullmatch("[a-z][a-z0-9_]*", name):
    raise ValueError(
      f"name {name!r}: a small letter, then small letters, digits and _ only"
    )
  path = datasets.dataset_path(name, data_dir)
  if path.exists() and not overwrite:
    raise FileExistsError(
      f"{path} exists; give --overwrite to replace it, or another --name"
    )


def write_dataset(
  source: Source,
  *,
  name: str,
  data_dir: str | pathlib.Path,
  overwrite: bool = False,
) -> pathlib.Path:
  """Checks every example of `source` and writes the dataset.

  The caller holds `preparation_lock(data_dir)`.

  Args:
    source: what to write.
    name: the dataset's name: small letters, digits and underscores.
    data_dir: folder of all datasets.
    overwrite: whether to replace a dataset of this name. Splits that were added
      to it stay if their images are there; others are named and lost.

  Returns:
    The dataset's folder.

  Raises:
    DataError: files or lists are faulty; names all of them.
    FileExistsError: there is such a dataset, and `overwrite` is False.
    OSError: writing failed.
  """
  target = datasets.dataset_path(name, data_dir)
  _restore_replaced(target)
  check_target(name, data_dir, overwrite)
  temporary = target.with_name(".incomplete")
  # Only a killed run leaves one behind; the lock excludes a running one.
  shutil.rmtree(temporary, ignore_errors=True)
  try:
    temporary.mkdir(parents=True)
    written = _write_examples(source, name, temporary)
    kept, notes = kept_splits.find(
      target / "lists",
      source.split_lists,
      ids=[raw.id for raw in source.examples.get("train", ())],
      has_label=written.has_label.get("train", ()),
    )
    source = dataclasses.replace(
      source, split_lists={**source.split_lists, **kept}
    )
    write_lists(source.split_lists, temporary / "lists")
    _check_written(source, name, temporary)
    _move_into_place(temporary, target)
  # ArrayRecord makes RuntimeError of a full disk, and others name no file.
  except (OSError, RuntimeError) as error:
    raise OSError(f"{target}: cannot be written ({error})") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
    with contextlib.suppress(OSError):
      target.parent.rmdir()  # Empty unless it holds a dataset.
  print(summary.format_table(source.class_names, source.split_lists, written))
  for note in notes:
    print(note)
  print(f"{name}: written to {target}")
  return target


def _write_examples(
  source: Source, name: str, folder: pathlib.Path
) -> summary.Written:
  """Writes the records.

  Raises:
    DataError: files or lists are faulty.
  """
  splits = list(source.examples)
  total = sum(len(source.examples[split]) for split in splits)
  bar = progress.Progress(f"checking and writing {name}", total)
  info = _dataset_info(source, name, folder)
  writer = tfds.core.SequentialWriter(
    info, max_examples_per_shard=_EXAMPLES_PER_SHARD, file_format="array_record"
  )
  writer.initialize_splits(splits)
  check = functools.partial(
    examples.check_example,
    num_classes=len(source.class_names),
    value_range=source.value_range,
    decide_orientation=_make_decider(source),
  )
  written = summary.Written()
  problems = list(source.problems)
  for split in splits:
    pending = []
    written.begin(split)
    for raw in source.examples[split]:
      bar.advance()
      try:
        checked = check(raw)
      except examples.ProblemError as error:
        problems.append(str(error))
        written.leave_out(split)
        continue
      written.add(split, checked)
      pending.append(_to_features(checked))
      if len(pending) == _EXAMPLES_PER_WRITE:
        writer.add_examples({split: pending})
        pending = []
    writer.add_examples({split: pending})
  # Only now is it known which masks label anything.
  info.metadata["has_label"] = written.has_label
  info.metadata["contents"] = written.digests()
  writer.close_all()
  problems += summary.find_label_problems(
    source.examples, source.split_lists, written, is_whole=not problems
  )
  if problems:
    raise DataError(problems)
  return written


def _make_decider(source: Source) -> Callable[[], str]:
  def read_mask_size(mask):
    labels = mask.read()
    return None if labels.is_upright else labels.ids.shape

  pairs = [
    (raw.image.read, functools.partial(read_mask_size, raw.mask))
    for raws in source.examples.values()
    for raw in raws
    if raw.mask is not None
  ]
  return orientation.make_decider(pairs, source.mask_orientation)


def _dataset_info(
  source: Source, name: str, folder: pathlib.Path
) -> tfds.core.DatasetInfo:
  metadata = tfds.core.MetadataDict(
    class_names=list(source.class_names),
    palette=[list(map(int, color)) for color in source.palette],
    ignore_label=u2pl_jax.IGNORE_LABEL,
    ids={s: [raw.id for raw in source.examples[s]] for s in source.examples},
    parameters=dict(source.parameters),
  )
  identity = tfds.core.dataset_info.DatasetIdentity(
    name=name,
    version=tfds.core.Version(datasets.VERSION),
    data_dir=os.fspath(folder),
    module_name="data_prep",
  )
  return tfds.core.DatasetInfo(
    builder=identity,
    description=f"{name}: images and class masks, written by data_prep.",
    features=tfds.features.FeaturesDict(_FEATURES),
    disable_shuffling=True,
    metadata=metadata,
  )


def _to_features(example: examples.CheckedExample) -> dict[str, object]:
  return {
    "id": example.id,
    "image": example.image,
    "label": example.label,
    "has_label": example.has_label,
  }


def write_lists(
  split_lists: Mapping[str, tuple[Sequence[str], Sequence[str]]],
  folder: pathlib.Path,
) -> None:
  """Writes (labeled, unlabeled) ids, by split, into folders of `folder`."""
  for split, lists in split_lists.items():
    (folder / split).mkdir(parents=True)
    for kind, ids in zip(("labeled", "unlabeled"), lists):
      text = "".join(f"{example_id}\n" for example_id in ids)
      (folder / split / f"{kind}.txt").write_text(text, encoding="utf-8")


def _check_written(source: Source, name: str, folder: pathlib.Path):
  """Raises OSError if records are missing, as on a disk that ran full."""
  info = tfds.builder_from_directory(folder).info
  for split, raw_examples in source.examples.items():
    files = [os.fspath(file) for file in info.splits[split].filepaths]
    if not raw_examples:
      continue
    with array_record_data_source.ArrayRecordDataSource(files) as records:
      if len(records) != len(raw_examples):
        raise OSError(
          f"{name}: {len(records)} of {len(raw_examples)} {split} records "
          "were written"
        )


def _restore_replaced(target: pathlib.Path):
  """Brings back a dataset that a killed run had put aside to replace it."""
  replaced = target.with_name(_REPLACED)
  if replaced.exists() and not target.exists():
    os.rename(replaced, target)


def _move_into_place(temporary: pathlib.Path, target: pathlib.Path):
  replaced = target.with_name(_REPLACED)
  shutil.rmtree(replaced, ignore_errors=True)
  if target.exists():
    os.rename(target, replaced)
  try:
    os.rename(temporary, target)
  finally:
    _restore_replaced(target)
  shutil.rmtree(replaced, ignore_errors=True)
