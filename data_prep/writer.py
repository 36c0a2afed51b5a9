"""Writes checked examples as one TFDS dataset in ArrayRecord form.

The dataset is written to a temporary folder beside its final place and renamed
at the end, so that an interrupted run leaves nothing that looks finished.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source

import u2pl_jax
from data_prep import examples
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
  """

  class_names: Sequence[str]
  palette: Sequence[Sequence[int]]
  examples: Mapping[str, Sequence[examples.RawExample]]
  split_lists: Mapping[str, tuple[Sequence[str], Sequence[str]]]
  parameters: Mapping[str, object]
  problems: Sequence[str] = ()


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
    overwrite: whether to replace a dataset of this name.

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
    pixel_counts = _write_examples(source, name, temporary)
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
  print(format_summary(source, pixel_counts))
  print(f"{name}: written to {target}")
  return target


def _write_examples(
  source: Source, name: str, folder: pathlib.Path
) -> dict[str, np.ndarray]:
  """Writes the records and returns the pixels of each label, by TFDS split."""
  splits = list(source.examples)
  total = sum(len(source.examples[split]) for split in splits)
  problems = list(source.problems)
  if not total:
    problems.append("there are no images at all")
  bar = progress.Progress(f"checking and writing {name}", total)
  writer = tfds.core.SequentialWriter(
    _dataset_info(source, name, folder),
    max_examples_per_shard=_EXAMPLES_PER_SHARD,
    file_format="array_record",
  )
  writer.initialize_splits(splits)
  pixel_counts = {split: np.zeros(256, np.int64) for split in splits}
  rotated = []
  for split in splits:
    pending = []
    for raw in source.examples[split]:
      bar.advance()
      try:
        checked = examples.check_example(raw, len(source.class_names))
      except examples.ProblemError as error:
        problems.append(str(error))
        continue
      pixel_counts[split] += checked.pixel_counts
      if checked.is_rotated:
        rotated.append(raw.image.name)
      pending.append(_to_features(checked))
      if len(pending) == _EXAMPLES_PER_WRITE:
        writer.add_examples({split: pending})
        pending = []
    writer.add_examples({split: pending})
  writer.close_all()
  if problems:
    raise DataError(problems)
  if rotated:
    print(
      f"note: {len(rotated)} images have an orientation tag (EXIF), such as "
      f"{rotated[0]}; it is ignored, their pixels are used as they are stored",
      file=sys.stderr,
    )
  return pixel_counts


def _dataset_info(
  source: Source, name: str, folder: pathlib.Path
) -> tfds.core.DatasetInfo:
  metadata = tfds.core.MetadataDict(
    class_names=list(source.class_names),
    palette=[list(map(int, color)) for color in source.palette],
    ignore_label=u2pl_jax.IGNORE_LABEL,
    ids={s: [raw.id for raw in source.examples[s]] for s in source.examples},
    has_label={
      s: [raw.mask is not None for raw in source.examples[s]]
      for s in source.examples
    },
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


def format_summary(
  source: Source, pixel_counts: Mapping[str, np.ndarray]
) -> str:
  """Formats the table of images, pixels by class, and split sizes.

  Args:
    source: what was written.
    pixel_counts: [256] pixels of each label, by TFDS split.
  """
  splits = list(source.examples)
  width = max(12, *(len(name) for name in source.class_names))

  def row(title, cells):
    return f"  {title:<{width + 4}}" + "".join(f"{c:>12}" for c in cells)

  masks = {
    s: sum(raw.mask is not None for raw in source.examples[s]) for s in splits
  }
  lines = [
    row("", splits),
    row("images", [len(source.examples[s]) for s in splits]),
    row("with masks", [masks[s] for s in splits]),
    f"  share of pixels, of {len(source.class_names)} classes",
  ]
  num_classes = len(source.class_names)
  valid = {s: max(1, pixel_counts[s][:num_classes].sum()) for s in splits}
  for label, name in enumerate(source.class_names):
    shares = [100 * pixel_counts[s][label] / valid[s] for s in splits]
    lines.append(row(f"{label:>3} {name}", [f"{x:.3f} %" for x in shares]))
  ignored = [
    100 * pixel_counts[s][u2pl_jax.IGNORE_LABEL] / max(1, pixel_counts[s].sum())
    for s in splits
  ]
  lines.append(row("ignored (255)", [f"{x:.3f} %" for x in ignored]))
  lines.append(row("split", ["labeled", "unlabeled"]))
  sizes = {
    s: [len(ids) for ids in lists] for s, lists in source.split_lists.items()
  }
  lines += [row(s, sizes[s]) for s in sorted(sizes, key=sizes.get)]
  return "\n".join(lines)
