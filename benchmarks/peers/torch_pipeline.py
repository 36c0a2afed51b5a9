"""A PyTorch input pipeline, to compare speeds with: one thread, no workers.

It does what the published loader (U2PL, u2pl/dataset) does for an image and its
mask: Pillow decodes both; both become float32 and the image is normalized; both
are resized whole, mirrored, padded and cropped; crops are stacked to batches.
Encoded files come from memory.
"""

import io
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

_MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
_STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
_IGNORE_LABEL = 255


def make_batches(
  examples: Sequence[tuple[bytes, bytes]],
  *,
  batch_size: int,
  crop_size: tuple[int, int],
  scale_range: tuple[float, float],
  flip_prob: float,
  seed: int,
) -> Iterator[dict[str, torch.Tensor]]:
  """Makes batches without end, on the calling thread alone.

  Args:
    examples: encoded image and encoded mask of each example.
    batch_size: images a batch.
    crop_size: (height, width) of the crops.
    scale_range: smallest and greatest random scale; 1 must lie between.
    flip_prob: probability of mirroring an image.
    seed: of the order and the augmentation.

  Returns:
    Iterator of dicts: image float32 [B, 3, H, W], normalized, and label int64
    [B, H, W].
  """
  torch.set_num_threads(1)
  rng = random.Random(seed)
  order = []
  while True:
    crops = []
    while len(crops) < batch_size:
      order = order or rng.sample(range(len(examples)), len(examples))
      image, label = _decode(*examples[order.pop()])
      image, label = _resize(image, label, _draw_scale(rng, scale_range))
      if rng.random() < flip_prob:
        image, label = image.flip(-1), label.flip(-1)
      crops.append(_crop(image, label, crop_size, rng))
    images, labels = zip(*crops)
    yield {"image": torch.stack(images), "label": torch.stack(labels).long()}


def _decode(image: bytes, label: bytes) -> tuple[torch.Tensor, torch.Tensor]:
  """Returns float32 image [3, H, W], normalized, and label [1, H, W]."""
  image = np.array(Image.open(io.BytesIO(image)).convert("RGB"))
  label = np.array(Image.open(io.BytesIO(label)))
  image = torch.from_numpy(image).permute(2, 0, 1).float()
  return image.sub_(_MEAN).div_(_STD), torch.from_numpy(label)[None].float()


def _draw_scale(rng: random.Random, scale_range: tuple[float, float]) -> float:
  low, high = scale_range
  return rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)


def _resize(
  image: torch.Tensor, label: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
  """Resizes the whole of both."""
  size = [int(length * scale) for length in image.shape[1:]]
  image = F.interpolate(image[None], size, mode="bilinear", align_corners=False)
  return image[0], F.interpolate(label[None], size, mode="nearest")[0]


def _crop(
  image: torch.Tensor,
  label: torch.Tensor,
  crop_size: tuple[int, int],
  rng: random.Random,
) -> tuple[torch.Tensor, torch.Tensor]:
  """Pads both to the crop on all sides where they are smaller; crops both."""
  missing = [max(c - n, 0) for c, n in zip(crop_size, image.shape[1:])]
  if any(missing):
    top, left = missing[0] // 2, missing[1] // 2
    border = (left, missing[1] - left, top, missing[0] - top)
    image = F.pad(image, border)
    label = F.pad(label, border, value=_IGNORE_LABEL)
  y, x = (rng.randint(0, n - c) for c, n in zip(crop_size, image.shape[1:]))
  window = slice(y, y + crop_size[0]), slice(x, x + crop_size[1])
  return image[:, *window], label[0, *window]
