"""Which image of a dataset a name means that comes from elsewhere.

Datasets name images by their path within a folder; commands and annotation
tools may see them from a folder above or below.
"""

import collections
import unicodedata
from collections.abc import Iterable


class Index:
  """The ids of a dataset's images, to be found by parts of their paths."""

  def __init__(self, ids: Iterable[str]):
    """Sorts ids by the last part of their paths."""
    self._by_last = collections.defaultdict(list)
    for example_id in ids:
      last = _key(example_id).rpartition("/")[2]
      self._by_last[last].append(example_id)

  def related(self, name: str) -> list[str]:
    """All ids that are the name, end with it, or are what it ends with."""
    key = f"/{_key(name)}"
    return [
      example_id
      for example_id in self._by_last[key.rpartition("/")[2]]
      if (other := f"/{_key(example_id)}").endswith(key) or key.endswith(other)
    ]

  def find(self, name: str) -> list[str]:
    """The id that a name means: itself, or one with most of its path's end.

    Args:
      name: without an ending.

    Returns:
      No id, or one; several if it may mean any of them.
    """
    found = self.related(name)
    if name in found:
      return [name]
    common = [min(len(_key(i)), len(_key(name))) for i in found]
    return [i for i, length in zip(found, common) if length == max(common)]


def _key(name: str) -> str:
  """A name to compare: file systems differ in how they compose accents."""
  return unicodedata.normalize("NFC", name)
