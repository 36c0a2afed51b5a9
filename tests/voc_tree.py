"""Small VOC-style trees, made on the fly; an id fixes its image and mask."""

import json
import pathlib
import zlib

import numpy as np
from PIL import Image

CLASS_NAMES = ("ground", "thing", "sky")


def draw_image(example_id: str) -> np.ndarray:
  """Noise, uint8 [H, W, 3], of a size of its own."""
  rng = np.random.default_rng(zlib.crc32(example_id.encode()))
  height, width = rng.integers(18, 30, 2)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def draw_mask(example_id: str) -> np.ndarray:
  """Class ids and 255, uint8 [H, W], of the size of the image."""
  height, width, _ = draw_image(example_id).shape
  rng = np.random.default_rng(zlib.crc32(example_id.encode()) + 1)
  return rng.choice(np.uint8([0, 1, 2, 255]), (height, width))


def write(
  root: pathlib.Path,
  *,
  num_train: int = 6,
  num_unmasked: int = 3,
  num_val: int = 3,
  num_labeled: int = 2,
) -> pathlib.Path:
  """Writes a tree with the split "few"; only PNGs, so that pixels are exact."""
  train = [f"train_{i}" for i in range(num_train)]
  unmasked = [f"unmasked_{i}" for i in range(num_unmasked)]
  val = [f"val_{i}" for i in range(num_val)]
  for example_id in train + unmasked + val:
    write_image(root, example_id)
    if example_id not in unmasked:
      write_mask(root, example_id, draw_mask(example_id))
  lists = root / "ImageSets" / "Segmentation"
  write_list(lists / "train.txt", train)
  write_list(lists / "trainaug.txt", train + unmasked)
  write_list(lists / "val.txt", val)
  labeled, unlabeled = train[:num_labeled], train[num_labeled:] + unmasked
  write_list(root / "splits" / "few" / "labeled.txt", labeled)
  write_list(root / "splits" / "few" / "unlabeled.txt", unlabeled)
  (root / "classes.json").write_text(json.dumps({"names": CLASS_NAMES}))
  return root


def write_image(root: pathlib.Path, example_id: str, suffix: str = ".png"):
  path = root / "JPEGImages" / (example_id + suffix)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(draw_image(example_id)).save(path)


def write_mask(root: pathlib.Path, example_id: str, mask: np.ndarray):
  path = root / "SegmentationClass" / f"{example_id}.png"
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(mask).save(path)


def write_list(path: pathlib.Path, ids: list[str]):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes("".join(f"{i}\n" for i in ids).encode())


def append(path: pathlib.Path, text: str):
  path.write_bytes(path.read_bytes() + text.encode())
