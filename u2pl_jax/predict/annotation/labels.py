"""What annotation tools call the classes, and the pixels of no class.

Tools know objects on a background that nobody draws. A class that is called
background is that background; the pixels of no class, 255, are then a label of
their own, `UNSURE`, to be drawn over. Without such a class the background of
the tools is what has no class yet, to be filled.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.data import palettes

BACKGROUND = "background"
UNSURE = "unsure"
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class Item:
  """An image with its mask.

  Attributes:
    name: what both are called, without an ending; may have slashes.
    image: file of the image.
    mask: file of the mask, uint8 class ids and 255.
  """

  name: str
  image: pathlib.Path
  mask: pathlib.Path

  def read_mask(self) -> np.ndarray:
    """uint8 [H, W]."""
    with Image.open(self.mask) as image:
      return np.asarray(image)


@dataclasses.dataclass(frozen=True)
class Label:
  """What a tool calls pixels of one value.

  Attributes:
    value: the class id, or 255.
    name: of the class, or `UNSURE`, or `BACKGROUND`.
    color: RGB; no two labels have the same.
    is_drawn: whether its pixels are objects, rather than background.
  """

  value: int
  name: str
  color: tuple[int, int, int]
  is_drawn: bool

  @property
  def hex_color(self) -> str:
    """As "#rrggbb"."""
    return "#%02x%02x%02x" % self.color


def make(
  class_names: Sequence[str], palette: Sequence[Sequence[int]]
) -> tuple[Label, ...]:
  """The labels of all values that masks hold, those of classes first.

  Black is the color of the background alone; a class that shares a color with
  another one gets one of PASCAL VOC's.

  Args:
    class_names: [K].
    palette: [K] RGB.

  Raises:
    ValueError: a class has the name of what is none; one line.
  """
  names = [name.lower() for name in class_names]
  if UNSURE in names:
    raise ValueError(
      f"class {class_names[names.index(UNSURE)]!r} has the name that pixels of"
      " no class have in annotation tools; rename it in the dataset"
    )
  has_background = BACKGROUND in names
  taken = {_BLACK, _WHITE}
  found = []
  for value, (name, color) in enumerate(
    zip(class_names, map(tuple, palette), strict=True)
  ):
    is_drawn = name.lower() != BACKGROUND
    if not is_drawn:
      color = _BLACK
    elif color in taken:
      color = next(c for c in palettes.voc_palette(256) if c not in taken)
    taken.add(color)
    found.append(Label(value, name, color, is_drawn))
  rest = (UNSURE, _WHITE) if has_background else (BACKGROUND, _BLACK)
  return (*found, Label(IGNORE_LABEL, *rest, is_drawn=has_background))
