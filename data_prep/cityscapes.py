"""Prepares Cityscapes: 2,975 training images and 500 validation images.

  python -m data_prep.cityscapes --root=DIR --data_dir=data

DIR holds leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, which need
not be unpacked, or the folders leftImg8bit and gtFine that come out of them.

A mask is the first of these that is there: *_gtFine_labelTrainIds.png, which
is not part of the download; *_gtFine_labelIds.png, by the official table of
ids; *_gtFine_polygons.json, drawn by the official package (pip install
cityscapesscripts). --labels takes them all from one of these. All ids but the
19 train ids become 255. Ids in the dataset are like aachen_000000_000019.

The dataset gets the published splits. Whatever is missing is an error, unless
--partial asks for a dataset of the frames that exist.
"""

import collections
import dataclasses
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_prep import (
  archives,
  cityscapes_polygons,
  command,
  examples,
  split_lists,
  writer,
)
from u2pl_jax.data import cityscapes_labels
from u2pl_jax.runtime import command_line

# In order of preference.
LABELS = ("trainIds", "labelIds", "polygons")

_IMAGES, _MASKS = "leftImg8bit", "gtFine"
_ENDINGS = {
  "image": "_leftImg8bit.png",
  "trainIds": "_gtFine_labelTrainIds.png",
  "labelIds": "_gtFine_labelIds.png",
  "polygons": "_gtFine_polygons.json",
}
_FRAME = re.compile(r"(?:.*/)?(?:train|val)/([^/]+)/(\1_\d+_\d+)(_[^/]+)")
_MAX_FRAMES_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class _Frames:
  """The files of a copy of Cityscapes, by kind (see `_ENDINGS`) and frame."""

  root: pathlib.Path
  files: Mapping[str, Mapping[str, examples.File]]

  def mask(self, frame: str, kinds: Sequence[str]) -> str | None:
    """Returns the kind of the best mask of a frame, None without any."""
    return next((k for k in kinds if frame in self.files[k]), None)


def prepare(
  root: str | pathlib.Path,
  *,
  data_dir: str | pathlib.Path,
  name: str = "cityscapes",
  labels: str = "auto",
  partial: bool = False,
  overwrite: bool = False,
) -> pathlib.Path:
  """Makes the dataset `name` of Cityscapes.

  Args:
    root: folder of the two zip files, or of what is in them.
    data_dir: folder of all datasets.
    name: the dataset's name: small letters, digits and underscores.
    labels: one of `LABELS`, or "auto" for the first that a frame has.
    partial: whether to leave out what is missing: frames without image or
      mask, and splits of which no labeled or unlabeled frame remains.
    overwrite: whether to replace a dataset of this name.

  Returns:
    The dataset's folder.

  Raises:
    ValueError: files are missing or faulty; the message names all of them.
    OSError: something cannot be read, or the dataset cannot be written.
    ImportError: polygons are needed, but not the package that draws them.
  """
  writer.check_target(name, data_dir, overwrite)
  if labels not in ("auto", *LABELS):
    raise ValueError(f"labels {labels!r}: must be auto or {', '.join(LABELS)}")
  frames = _find_frames(pathlib.Path(root).expanduser())
  source = _read_source(frames, labels, partial)
  with writer.preparation_lock(data_dir):
    path = writer.write_dataset(
      source, name=name, data_dir=data_dir, overwrite=overwrite
    )
  counts = source.parameters["masks"]
  print("masks: " + ", ".join(f"{counts[k]} from {k}" for k in counts))
  return path


def _find_frames(root: pathlib.Path) -> _Frames:
  """Finds images and masks in a folder or two zip files.

  Raises:
    OSError: there are none, or they cannot be read.
    ValueError: a frame has a file twice; names all of them.
  """
  if not root.is_dir():
    raise FileNotFoundError(f"{root}: no such folder")
  files = {kind: {} for kind in _ENDINGS}
  kinds = {ending: kind for kind, ending in _ENDINGS.items()}
  problems = []
  for part in (_IMAGES, _MASKS):
    for path, file in archives.open_files(_find_part(root, part)).items():
      match = _FRAME.fullmatch(path)
      kind = kinds.get(match[3]) if match else None
      if kind:
        other = files[kind].setdefault(match[2], file)
        if other is not file:
          problems.append(f"{match[2]} is both in {other.name} and {file.name}")
  if problems:
    raise writer.DataError(problems)
  return _Frames(root, files)


def _find_part(root: pathlib.Path, part: str) -> pathlib.Path:
  """Returns the folder or zip file of the images or of the masks."""
  whole = f"{part}_trainvaltest"
  for name in (part, whole, f"{whole}.zip"):
    if (root / name).exists():
      return root / name
  raise FileNotFoundError(
    f"{root}: neither {whole}.zip nor a folder {part} in it; both are at "
    "https://www.cityscapes-dataset.com/downloads"
  )


def _read_source(frames: _Frames, labels: str, partial: bool) -> writer.Source:
  """Pairs images with masks and finds what is missing."""
  kinds = LABELS if labels == "auto" else (labels,)
  published = split_lists.read(split_lists.FOLDERS["cityscapes"])
  wanted = {
    "train": list(map(_to_frame, published.train)),
    "val": list(map(_to_frame, published.val)),
  }
  splits = {
    split: tuple(list(map(_to_frame, part)) for part in lists)
    for split, lists in published.splits.items()
  }
  problems = []
  present = {
    frame
    for frame in (*wanted["train"], *wanted["val"])
    if frame in frames.files["image"] and frames.mask(frame, kinds)
  }
  if partial:
    wanted = {k: [f for f in v if f in present] for k, v in wanted.items()}
    splits = _restrict_splits(splits, present)
  else:
    problems = _find_missing(frames, wanted, kinds)
  chosen = [
    frames.mask(f, kinds)
    for part in wanted.values()
    for f in part
    if f in present
  ]
  if "polygons" in chosen:
    cityscapes_polygons.check_installed()
  return writer.Source(
    class_names=cityscapes_labels.CLASS_NAMES,
    palette=cityscapes_labels.PALETTE,
    examples={
      part: [_to_raw_example(frames, f, kinds) for f in ids if f in present]
      for part, ids in wanted.items()
    },
    split_lists=splits,
    parameters={
      "source": "cityscapes",
      "root": str(frames.root.resolve()),
      "labels": labels,
      "partial": partial,
      "masks": dict(collections.Counter(chosen)),
    },
    problems=problems,
  )


def _to_frame(path: str) -> str:
  """Returns the frame of an image's path, as the lists of splits have it."""
  return path.rpartition("/")[2].removesuffix(_ENDINGS["image"])


def _restrict_splits(
  splits: Mapping[str, tuple[list[str], list[str]]], present: set[str]
) -> dict[str, tuple[list[str], list[str]]]:
  """Returns what is left of the splits, without those of which too little is.

  Raises:
    ValueError: nothing is left of any split.
  """
  restricted = {}
  for split, lists in splits.items():
    labeled, unlabeled = ([f for f in ids if f in present] for ids in lists)
    if labeled and unlabeled:
      restricted[split] = (labeled, unlabeled)
    else:
      kind = "unlabeled" if labeled else "labeled"
      print(f"split {split}: left out, no {kind} frame is there")
  if not restricted:
    raise ValueError("too few frames are there for any split")
  return restricted


def _find_missing(
  frames: _Frames, wanted: Mapping[str, Sequence[str]], kinds: Sequence[str]
) -> list[str]:
  """Returns one message for the images and one for the masks of each part."""
  problems = []
  for part, ids in wanted.items():
    for what, is_missing in (
      ("images", lambda f: f not in frames.files["image"]),
      ("masks", lambda f: frames.mask(f, kinds) is None),
    ):
      missing = [frame for frame in ids if is_missing(frame)]
      if missing:
        problems.append(
          f"{frames.root}: {len(missing)} of {len(ids)} {part} {what} are "
          f"missing: {_describe(missing, ids)}"
        )
  if problems:
    problems[-1] += "; --partial makes a dataset of what is there"
  return problems


def _describe(missing: Sequence[str], ids: Sequence[str]) -> str:
  """Names a few frames, or counts many by city."""
  if len(missing) <= _MAX_FRAMES_SHOWN:
    return ", ".join(missing)

  def by_city(frames):
    return collections.Counter(frame.partition("_")[0] for frame in frames)

  totals = by_city(ids)
  return ", ".join(
    f"{city} all {n}" if n == totals[city] else f"{city} {n} of {totals[city]}"
    for city, n in by_city(missing).items()
  )


def _to_raw_example(
  frames: _Frames, frame: str, kinds: Sequence[str]
) -> examples.RawExample:
  kind = frames.mask(frame, kinds)
  image = frames.files["image"][frame]
  mask = _MASK_READERS[kind](frames.files[kind][frame])
  return examples.RawExample(frame, image, mask)


def _label_id_mask(file: examples.File) -> examples.Mask:
  """Of *_labelIds.png."""

  def read():
    mask = examples.decode(file, examples.read(file), ("PNG",), ("L",))
    return _to_labels(file, np.asarray(mask))

  return examples.Mask(file.name, read)


def _polygon_mask(file: examples.File) -> examples.Mask:
  """Of *_polygons.json."""
  return examples.Mask(
    file.name, lambda: _to_labels(file, cityscapes_polygons.draw(file))
  )


def _to_labels(file: examples.File, label_ids: np.ndarray) -> examples.Labels:
  unknown = label_ids[label_ids >= cityscapes_labels.NUM_IDS]
  if unknown.size:
    raise examples.ProblemError(
      f"{file.name}: {unknown.size} pixels of ids that Cityscapes does not "
      f"have, such as {unknown[0]}"
    )
  return examples.Labels(cityscapes_labels.to_train_ids(label_ids))


_MASK_READERS: Mapping[str, Callable[[examples.File], examples.Mask]] = {
  "trainIds": examples.id_mask,
  "labelIds": _label_id_mask,
  "polygons": _polygon_mask,
}


def main(argv: Sequence[str] | None = None) -> int:
  parser = command_line.make_parser("data_prep.cityscapes", __doc__)
  parser.add_argument(
    "--root",
    required=True,
    help="folder of the two zip files, or of leftImg8bit and gtFine",
  )
  command.add_target_arguments(parser, "cityscapes")
  parser.add_argument(
    "--labels",
    choices=("auto", *LABELS),
    default="auto",
    help="files that the masks are made from; auto: for each frame the first "
    "of these that exists",
  )
  parser.add_argument(
    "--partial",
    action="store_true",
    help="use the frames that exist, though others are missing",
  )
  args = parser.parse_args(argv)
  return command.run(lambda: prepare(**vars(args)))


if __name__ == "__main__":
  sys.exit(main())
