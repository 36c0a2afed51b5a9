"""Finds the files of PASCAL VOC 2012 and of SBD's masks; see `voc`."""

import dataclasses
import pathlib
from collections.abc import Mapping

from data_prep import archives, examples

IMAGES = "JPEGImages"
OFFICIAL = "SegmentationClass"
AUG = "SegmentationClassAug"
TREE_LISTS = "ImageSets/Segmentation"


@dataclasses.dataclass(frozen=True)
class Files:
  """What there is of VOC: files by id.

  Attributes:
    root: where it is.
    aug_root: where SBD's masks are, if they were given.
    images: all images.
    official: masks in VOC's own folder of masks.
    aug: SBD's masks.
    lists: the tree's id lists.
  """

  root: str
  aug_root: str | None
  images: Mapping[str, examples.File]
  official: Mapping[str, examples.File]
  aug: Mapping[str, examples.File]
  lists: Mapping[str, examples.File]


def find_files(
  root: str | pathlib.Path, aug: str | pathlib.Path | None
) -> Files:
  """Finds VOC's files in `root` and SBD's masks in `aug`.

  Raises:
    ValueError: either holds nothing of the kind.
    OSError: either cannot be read.
  """
  files = archives.open_files(root)
  top = _find_top(files, root)
  return Files(
    root=_resolve(root),
    aug_root=_resolve(aug) if aug is not None else None,
    images=_by_id(files, top + IMAGES, ".jpg"),
    official=_by_id(files, top + OFFICIAL, ".png"),
    aug=_find_aug(aug) if aug is not None else {},
    lists=_by_id(files, top + TREE_LISTS, ".txt"),
  )


def _resolve(path: str | pathlib.Path) -> str:
  return str(pathlib.Path(path).expanduser().resolve())


def _find_top(
  files: Mapping[str, examples.File], root: str | pathlib.Path
) -> str:
  """Returns the folder that holds VOC's own: "" or a path with a slash."""
  tops = set()
  for name in files:
    top, found, _ = f"/{name}".partition(f"/{IMAGES}/")
    if found:
      tops.add(f"{top}/"[1:])
  # Several years may lie in one VOCdevkit.
  tops = {top for top in tops if top.endswith("VOC2012/")} or tops
  if not tops:
    raise ValueError(
      f"{root}: no folder {IMAGES} in it; give VOCtrainval_11-May-2012.tar or "
      "the folder VOCdevkit/VOC2012 that it holds"
    )
  return _only(tops, f"{root}: several folders hold {IMAGES}")


def _find_aug(aug: str | pathlib.Path) -> dict[str, examples.File]:
  """Returns the masks of SBD by id."""
  files = archives.open_files(aug)
  folders = {name.rpartition("/")[0] for name in files}
  named = {folder for folder in folders if f"/{folder}".endswith(f"/{AUG}")}
  folder = _only(named or {""}, f"{aug}: several folders hold masks")
  masks = _by_id(files, folder, ".png")
  if not masks:
    raise ValueError(f"{aug}: no {AUG}/ID.png in it")
  return masks


def _only(paths: set[str], problem: str) -> str:
  if len(paths) > 1:
    raise ValueError(f"{problem}: {', '.join(sorted(paths))}; give one")
  return next(iter(paths))


def _by_id(
  files: Mapping[str, examples.File], folder: str, suffix: str
) -> dict[str, examples.File]:
  """Returns the files right in `folder` that have a suffix, by name."""
  found = {}
  for path, file in files.items():
    parent, _, name = path.rpartition("/")
    if parent == folder and name.endswith(suffix):
      found[name.removesuffix(suffix)] = file
  return found
