"""Trees where only the names of files matter."""

import pathlib

import numpy as np
from PIL import Image

from data_prep import folder
from data_prep.layouts import tree


def touch(root: pathlib.Path, *names: str):
  """Writes a pixel into each file."""
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(path)


def read(root, **options):
  return folder.read_tree(root, tree.Options(**options))


def pairs(found):
  """Returns the names of image and mask of all entries, by id."""
  return {e.id: (e.image.name, e.mask and e.mask.name) for e in found.entries}


def ids(entries):
  return [entry.id for entry in entries]
