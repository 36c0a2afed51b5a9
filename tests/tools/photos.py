"""Photographs of noise, as files."""

import numpy as np
from PIL import Image

SIZE = (33, 41)


def make_image(seed=0, size=SIZE):
  return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def save(folder, count=1, size=SIZE):
  folder.mkdir(exist_ok=True)
  images = [make_image(seed, size) for seed in range(count)]
  for index, image in enumerate(images):
    Image.fromarray(image).save(folder / f"{index}.png")
  return np.stack(images)


def load(*parts):
  return np.asarray(open_image(*parts))


def open_image(*parts):
  with Image.open("/".join(map(str, parts))) as image:
    image.load()
    return image
