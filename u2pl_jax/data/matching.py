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
    """The id that a name means; several if it may mean any of them.

    It is the name itself, or else the longest id that the name ends with, or
    else one that ends with the name.
    """
    within = [
      example_id
      for example_id in self.related(name)
      if len(_key(example_id)) <= len(_key(name))
    ]
    return [max(within, key=len)] if within else self.related(name)


def _key(name: str) -> str:
  """A name to compare: file systems differ in how they compose accents."""
  return unicodedata.normalize("NFC", name)
