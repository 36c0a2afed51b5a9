"""Small masks in files of any kind, for the tests of what they are read as."""

import io

import numpy as np
from PIL import Image

from data_prep import class_table, examples, masks

NAMES = ("ground", "thing", "sky")
IDS = np.random.default_rng(0).choice(np.uint8([0, 1, 2, 255]), (5, 7))
COLORS = {(0, 0, 0): 0, (255, 255, 255): 1, (9, 0, 200): 2, (9, 0, 201): 255}
RGB = np.zeros((5, 7, 3), np.uint8)
for _color, _id in COLORS.items():
  RGB[IDS == _id] = _color


def of_names(count=3, **options):
  """A table of the first names."""
  return class_table.make(NAMES[:count], **options)


def of_colors(mask_values=""):
  """The table of masks that hold `COLORS`."""
  palette = [color for color, i in COLORS.items() if i != 255]
  return of_names(
    palette=palette, colors=list(COLORS.items()), mask_values=mask_values
  )


def file_of(image, name="a mask.png", kind="PNG", **options):
  """The file of an image that Pillow writes, or of an array."""
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return examples.File(name, buffer.getvalue)


def with_palette(ids, colors):
  """An image of palette indices, of which the first have these colors."""
  image = Image.fromarray(ids)
  image.putpalette([v for color in colors for v in color])
  assert image.mode == "P"
  return image


def read(image, table, **options):
  """Returns the labels of a mask."""
  return masks.make_reader(table)(file_of(image, **options)).read()


def read_ids(image, table, **options):
  """Returns the class ids of a mask, which must be bytes."""
  labels = read(image, table, **options)
  assert labels.ids.dtype == np.uint8
  return labels.ids
