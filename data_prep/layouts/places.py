"""Tells by the names of folders what each image file of a tree is for."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

from data_prep.layouts import endings, files, words


@dataclasses.dataclass(frozen=True)
class Place:
  """An image file, and what the folders above it say.

  Attributes:
    path: the file.
    stem: its name without the ending.
    ending: its ending in small letters.
    kind: `words.IMAGE`, `words.MASK`, or "" if no folder says.
    kind_word: what says so.
    part: `words.TRAIN`, `words.VAL`, `words.TEST`, or "" if no folder says.
    folder: the folders above it but for those that say the kind; of ids.
    group: likewise, with one word for each part; an image and its mask agree.
  """

  path: pathlib.Path
  stem: str
  ending: str
  kind: str
  kind_word: str
  part: str
  folder: str
  group: str

  @property
  def id(self) -> str:
    return f"{self.folder}/{self.stem}" if self.folder else self.stem


def find(
  listing: files.Listing, images: str = "", masks: str = ""
) -> list[Place]:
  """Returns all image files of a tree, and all that may be masks.

  Args:
    listing: the tree.
    images: the folder of images, or the name of all such folders; empty for
      those of a usual name.
    masks: likewise of masks.

  Raises:
    FileNotFoundError: there is no folder of such a name.
  """
  given = {words.MASK: masks, words.IMAGE: images}
  names = {kind: name for kind, name in given.items() if name}
  tops = {}
  for kind, name in names.items():
    if (listing.root / name).is_dir():
      tops[kind] = pathlib.Path(os.path.normpath(listing.root / name))
    elif not _is_anywhere(listing, name):
      raise FileNotFoundError(f"{listing.root / name}: no such folder")
  places = []
  for kind, top in tops.items():
    inner = [t for t in tops.values() if t != top and t.is_relative_to(top)]
    for name in files.list_files(top):
      if not any((top / name).is_relative_to(t) for t in inner):
        places += _place(top, name, {}, kind)
  if len(tops) == 2:
    return places
  for name in listing.names:
    path = listing.root / name
    if not any(path.is_relative_to(top) for top in tops.values()):
      places += _place(listing.root, name, names, "")
  return [p for p in places if p.kind not in tops or _in(p, tops[p.kind])]


def _in(place: Place, top: pathlib.Path) -> bool:
  return place.path.is_relative_to(top)


def _is_anywhere(listing: files.Listing, name: str) -> bool:
  return any(name in folder.split("/") for folder in listing.folders)


def _place(
  top: pathlib.Path, name: str, names: dict[str, str], kind: str
) -> Iterator[Place]:
  """Yields the place of a file of `top`, if it may be an image or a mask."""
  stem, ending = files.split_ending(name)
  *folders, stem = stem.split("/")
  kind_word = part = ""
  own, shared = [], []
  for folder in folders:
    meaning = _read(folder, names, kind)
    if meaning and not (meaning.kind and kind) and not (meaning.part and part):
      kind, kind_word = kind or meaning.kind, kind_word or meaning.kind_word
      part = part or meaning.part
      own += [meaning.part_word] if meaning.part else []
      shared += [meaning.part] if meaning.part else []
    else:
      own.append(folder)
      shared.append(files.key(folder))
  readable = endings.IMAGES + endings.MASKS
  if ending not in readable and (kind != words.MASK or ending in endings.NOTES):
    return
  yield Place(
    path=top / name,
    stem=stem,
    ending=ending,
    kind=kind,
    kind_word=kind_word,
    part=part,
    folder="/".join(own),
    group="/".join(shared),
  )


def _read(
  folder: str, names: dict[str, str], kind: str
) -> words.Meaning | None:
  """What the name of a folder says, where the user may have named some."""
  for named_kind, name in names.items():
    if folder == name:
      return words.Meaning(kind=named_kind, kind_word=name)
  meaning = words.read(folder)
  if meaning and meaning.kind in names:
    return None  # Of the kind that the user gave another name.
  return meaning


def kind_words(places: Sequence[Place], kind: str) -> list[str]:
  """The names of folders that say that they hold `kind`, sorted.

  Those of other files count only where there are no images.
  """
  of_kind = [p for p in places if p.kind == kind]
  usual = [p for p in of_kind if p.ending in endings.IMAGES]
  return sorted({p.kind_word for p in usual or of_kind})
