"""Finds the files that a line of a list names."""

import pathlib
import re

from data_prep.layouts import checks, endings, files

_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")


class Reader:
  """Reads lines of lists in a tree.

  Attributes:
    images_folder: where images lie that a line names without a folder.
  """

  def __init__(
    self,
    listing: files.Listing,
    images_folder: pathlib.Path | None,
    masks_folder: pathlib.Path | None,
  ):
    self._listing = listing
    self.images_folder = images_folder
    self._masks_folder = masks_folder
    self._masks = (
      files.index(masks_folder, endings.MASKS) if masks_folder else {}
    )

  def read(
    self, line: str, file: pathlib.Path, needs_mask: bool
  ) -> tuple[pathlib.Path, pathlib.Path | None]:
    """Returns the image and the mask that `line` of `file` names.

    Args:
      line: an image and a mask, or an image.
      file: the list.
      needs_mask: whether a mask that is named has to be there.

    Raises:
      ValueError: there are no such files.
    """
    whole = self._find_exactly(line, file, self.images_folder)
    if whole:
      return whole, self._find_mask(whole)
    image = lost = None
    for match in _BETWEEN.finditer(line):
      first, second = line[: match.start()], line[match.end() :]
      found = self._find(first, file, self.images_folder)
      if not found:
        continue
      mask = self._find(second, file, self._masks_folder)
      if mask:
        return found, self._check(mask, file)
      image, lost = found, second
    if image and not needs_mask:
      return image, None
    if image:
      raise ValueError(f"{file}: {line!r}: there is no mask {lost}")
    # Only now: the end of a line of two is the mask.
    whole = self._find(line, file, self.images_folder)
    if whole:
      return whole, self._find_mask(whole)
    raise ValueError(f"{file}: {line!r} has no image")

  def _check(self, mask: pathlib.Path, file: pathlib.Path) -> pathlib.Path:
    if mask.suffix.lower() not in endings.MASKS:
      raise ValueError(f"{file}: {checks.unread_ending(mask)}")
    return mask

  def _find_mask(self, image: pathlib.Path) -> pathlib.Path | None:
    """The mask of an image that a line names alone."""
    folder = self.images_folder
    if not folder or not image.is_relative_to(folder):
      return None
    example_id = image.relative_to(folder).with_suffix("").as_posix()
    found = self._masks.get(files.key(example_id), [None])
    return found[0]

  def _find(
    self, text: str, file: pathlib.Path, folder: pathlib.Path | None
  ) -> pathlib.Path | None:
    """The file of a path, which may be of another computer."""
    found = self._find_exactly(text, file, folder)
    if found:
      return found
    # Or one with a slash in front.
    parts = [
      p for p in text.replace("\\", "/").split("/") if p not in ("", ".")
    ]
    for start in range(len(parts)):
      name = self._listing.by_key.get(files.key("/".join(parts[start:])))
      if name:
        return self._listing.root / name
    return None

  def _find_exactly(
    self, text: str, file: pathlib.Path, folder: pathlib.Path | None
  ) -> pathlib.Path | None:
    """The file of a path that is absolute or relative to something likely."""
    if not text:
      return None
    root = self._listing.root
    for base in (root, file.parent, folder):
      if base and (base / text).is_file():
        return self._as_listed(base / text)
    if folder and not pathlib.PurePath(text).suffix:
      for ending in endings.IMAGES:
        if (folder / f"{text}{ending}").is_file():
          return folder / f"{text}{ending}"
    return None

  def _as_listed(self, path: pathlib.Path) -> pathlib.Path:
    """One path for a file, whether a line has dots in it or not."""
    path = pathlib.Path(*[p for p in path.parts if p != "."])
    name = path.as_posix().removeprefix(f"{self._listing.root.as_posix()}/")
    return self._listing.root / self._listing.by_key.get(files.key(name), name)
