"""What was written to a dataset, and the table about it."""

import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

import u2pl_jax
from data_prep import examples

Lists = tuple[Sequence[str], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Written:
  """What was written, by TFDS split.

  Attributes:
    has_label: of each image in order, whether it has a mask that labels
      anything; None if the image could not be used.
    pixel_counts: [256] int64, pixels of each label.
    conversions: number of images and masks, by what was done to them.
  """

  has_label: dict[str, list[bool | None]] = dataclasses.field(
    default_factory=dict
  )
  pixel_counts: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  conversions: dict[str, collections.Counter] = dataclasses.field(
    default_factory=dict
  )
  _hashes: dict[str, "hashlib._Hash"] = dataclasses.field(default_factory=dict)

  def begin(self, split: str) -> None:
    """Begins a TFDS split."""
    self.has_label[split] = []
    self.pixel_counts[split] = np.zeros(256, np.int64)
    self.conversions[split] = collections.Counter()
    self._hashes[split] = hashlib.sha256()

  def add(self, split: str, example: examples.CheckedExample) -> None:
    """Adds an example."""
    self.has_label[split].append(example.has_label)
    self.pixel_counts[split] += example.pixel_counts
    self.conversions[split].update(example.conversions)
    for part in (example.id.encode(), example.image, example.label):
      # With lengths, no two contents are the same bytes in a row.
      self._hashes[split].update(len(part).to_bytes(8))
      self._hashes[split].update(part)

  def leave_out(self, split: str) -> None:
    """Passes over an image that cannot be used."""
    self.has_label[split].append(None)

  def digests(self) -> dict[str, str]:
    """SHA-256 of all ids, images and labels in order, hexadecimal."""
    return {split: found.hexdigest() for split, found in self._hashes.items()}


def find_label_problems(
  raw_examples: Mapping[str, Sequence[examples.RawExample]],
  split_lists: Mapping[str, Lists],
  written: Written,
  *,
  is_whole: bool,
) -> list[str]:
  """Returns what is wrong with masks that label nothing, one line each.

  Args:
    raw_examples: what was to be written, by TFDS split.
    split_lists: (labeled, unlabeled) ids, by semi-supervised split.
    written: what was written.
    is_whole: whether that is all of it.
  """
  if not any(raw_examples.values()):
    return ["there are no images at all"]
  empty = {
    split: {
      raw.id: raw.mask.name
      for raw, has_label in zip(raws, written.has_label[split], strict=True)
      if raw.mask is not None and has_label is False
    }
    for split, raws in raw_examples.items()
  }
  in_train = empty.pop("train", {})
  problems = [
    f"{name}: a mask of {split} without a labeled pixel; label it, or leave "
    "its image out"
    for split, names in empty.items()
    for name in names.values()
  ]
  problems += [
    f"split {split}: id {i!r} is among the labeled, but its mask {in_train[i]} "
    "has no labeled pixel"
    for split, (labeled, _) in split_lists.items()
    for i in dict.fromkeys(labeled)
    if i in in_train
  ]
  needs_labels = bool(split_lists) or any(
    raw.mask is not None for raws in raw_examples.values() for raw in raws
  )
  has_label = written.has_label.get("train", ())
  if is_whole and needs_labels and has_label and not any(has_label):
    problems.append("no training image has a mask with a labeled pixel")
  return problems


def format_table(
  class_names: Sequence[str],
  split_lists: Mapping[str, Lists],
  written: Written,
) -> str:
  """Formats the table of images, conversions, pixels by class, and splits.

  Args:
    class_names: [K] names.
    split_lists: (labeled, unlabeled) ids, by semi-supervised split.
    written: what was written.
  """
  splits = list(written.has_label)
  conversions = sorted(set().union(*written.conversions.values()))
  width = max(12, *map(len, class_names), *(len(c) - 2 for c in conversions))

  def row(title, cells):
    return f"  {title:<{width + 4}}" + "".join(f"{c:>12}" for c in cells)

  lines = [
    row("", splits),
    row("images", [len(written.has_label[s]) for s in splits]),
    row("with masks", [sum(written.has_label[s]) for s in splits]),
  ]
  if conversions:
    lines.append("  converted")
  for what in conversions:
    lines.append(
      row(f"  {what}", [written.conversions[s][what] for s in splits])
    )
  lines.append(f"  share of pixels, of {len(class_names)} classes")
  counts = written.pixel_counts
  valid = {s: max(1, counts[s][: len(class_names)].sum()) for s in splits}
  for label, name in enumerate(class_names):
    shares = [100 * counts[s][label] / valid[s] for s in splits]
    lines.append(row(f"{label:>3} {name}", [f"{x:.3f} %" for x in shares]))
  ignored = [
    100 * counts[s][u2pl_jax.IGNORE_LABEL] / max(1, counts[s].sum())
    for s in splits
  ]
  lines.append(row("ignored (255)", [f"{x:.3f} %" for x in ignored]))
  if split_lists:
    lines.append(row("split", ["labeled", "unlabeled"]))
  sizes = {s: [len(ids) for ids in lists] for s, lists in split_lists.items()}
  lines += [row(s, sizes[s]) for s in sorted(sizes, key=sizes.get)]
  return "\n".join(lines)
