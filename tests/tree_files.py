"""What the trees of all layouts are made of: images, masks, lists."""

import dataclasses
import json
import pathlib
import zlib

import numpy as np
from PIL import Image

NAMES = ("ground", "thing", "sky")
COLORS = ((0, 0, 0), (200, 30, 60), (0, 120, 250))
IGNORED = 255
TRAIN, VAL, DRAWN = "train", "val", ""


@dataclasses.dataclass(frozen=True)
class Example:
  """What must come of an image.

  Attributes:
    image: uint8 [H, W, 3].
    label: uint8 [H, W], class ids and 255; None without a mask.
    part: TRAIN, VAL, or DRAWN if it may be either.
  """

  image: np.ndarray
  label: np.ndarray | None
  part: str


Expected = dict[str, Example]


def draw_image(name: str, size: tuple[int, int]) -> np.ndarray:
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  return rng.integers(0, 256, (*size, 3), np.uint8)


def draw_label(
  index: int, size: tuple[int, int], ignored: bool = True
) -> np.ndarray:
  """Two of three classes, by the index of the image, and 255 in a corner."""
  height, width = size
  label = np.zeros(size, np.uint8)
  label[height // 3 :, : width // 2 + index % 3] = 1 + index % 2
  if index % 4 == 1:
    label[:, width - 5 :] = 2
  if ignored:
    label[:2, :3] = IGNORED
  return label


def save_image(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
  """Writes an image and returns what is to be read: JPEG changes it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(draw_image(path.stem, size)).save(path)
  return np.asarray(Image.open(path))


def save_mask(path: pathlib.Path, pixels: np.ndarray, palette=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  mask = Image.fromarray(pixels.astype(np.uint8))
  if palette is not None:
    mask.putpalette(np.asarray(palette, np.uint8).ravel().tolist())
  mask.save(path)


def to_colors(label: np.ndarray) -> np.ndarray:
  return np.asarray(COLORS, np.uint8)[label]


def write_lines(path: pathlib.Path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_classes(root: pathlib.Path):
  (root / "classes.json").write_text(json.dumps({"names": NAMES}))


def part_images(num_images: int, num_val: int = 2) -> list[str]:
  return [TRAIN] * (num_images - num_val) + [VAL] * num_val
