"""Images with masks of a background and two classes, as files."""

import numpy as np
from PIL import Image

from u2pl_jax.predict.annotation import labels

NAMES = ("background", "cat", "big dog")
PALETTE = ((0, 0, 0), (200, 30, 60), (0, 120, 250))
LABELS = labels.make(NAMES, PALETTE)
COLORS = np.full((256, 3), 255, np.uint8)
COLORS[:3] = PALETTE


def draw_mask(seed, size=(24, 31)):
  """Of blobs of all values, and one that lacks the first class."""
  rng = np.random.default_rng(seed)
  coarse = rng.choice([0, 1, 2, 255] if seed else [0, 2, 255], (6, 8))
  return coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].astype(np.uint8)


def write(folder):
  """Writes images and masks; returns the items, and {name: mask}."""
  found, masks = [], {}
  for seed, name in enumerate(("a", "sub/b c", "sub/d.e")):
    image = folder / f"in/{name}.jpg"
    mask = folder / f"out/{name}.png"
    for path in (image, mask):
      path.parent.mkdir(parents=True, exist_ok=True)
    masks[name] = draw_mask(seed)
    Image.fromarray(COLORS[masks[name]]).save(image)
    Image.fromarray(masks[name]).save(mask)
    found.append(labels.Item(name, image, mask))
  return found, masks
