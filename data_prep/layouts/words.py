"""What the names of folders say: images or masks, training or validation."""

import dataclasses
import re

IMAGE, MASK = "image", "mask"
TRAIN, VAL, TEST = "train", "val", "test"

_PARTS = {
  TRAIN: ("train", "training", "trainset", "trn"),
  VAL: ("val", "valid", "validation", "valset", "dev", "eval"),
  TEST: ("test", "testing", "testset"),
}
_KINDS = {
  IMAGE: (
    "image", "images", "img", "imgs", "jpegimages", "pngimages", "photo",
    "photos", "photographs", "picture", "pictures", "pics", "frames", "input",
    "inputs", "original", "originals", "rgb", "leftimg8bit",
  ),
  MASK: (
    "mask", "masks", "ann", "anns", "annot", "annots", "annotation",
    "annotations", "label", "labels", "gt", "gts", "gtfine", "groundtruth",
    "groundtruths", "seg", "segs", "segmentation", "segmentations",
    "segmentationclass", "segmentationclassaug", "segmentationclasspng",
    "segmentationmasks", "target", "targets",
  ),
}  # fmt: skip
_FILLERS = ("dir", "folder", "set", "data")
_PART_OF = {word: part for part, words in _PARTS.items() for word in words}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
# train_images, but trainannot, too.
_COMPACT = re.compile(f"({'|'.join(_PART_OF)})({'|'.join(_KIND_OF)})")


@dataclasses.dataclass(frozen=True)
class Meaning:
  """What a name says.

  Attributes:
    kind: IMAGE or MASK; empty if it does not say.
    part: TRAIN, VAL or TEST; empty if it does not say.
    kind_word: the part of the name that says the kind.
    part_word: the part of the name that says the part.
  """

  kind: str = ""
  part: str = ""
  kind_word: str = ""
  part_word: str = ""


def read(name: str) -> Meaning | None:
  """Returns what the name of a folder says; None if it says something else."""
  small = name.lower()
  whole = re.sub(r"[\W_]+", "", small)
  compact = _COMPACT.fullmatch(whole)
  if whole in _KIND_OF or whole in _PART_OF:
    words = [whole]
  elif compact:
    words = list(compact.groups())
  else:
    words = [w for w in re.split(r"[\W_]+", small) if w]
    words = [w for w in words if w not in _FILLERS]
  kinds = [w for w in words if w in _KIND_OF]
  parts = [w for w in words if w in _PART_OF]
  if not words or len(kinds) + len(parts) < len(words):
    return None
  if len(kinds) > 1 or len(parts) > 1:
    return None
  kind_word, part_word = "".join(kinds), "".join(parts)
  return Meaning(
    kind=_KIND_OF.get(kind_word, ""),
    part=_PART_OF.get(part_word, ""),
    kind_word=kind_word,
    part_word=part_word,
  )


def part_of(name: str) -> str:
  """TRAIN, VAL or TEST if a name says just that, else ""."""
  return _PART_OF.get(name.lower(), "")
