"""Strong augmentation in PyTorch: cutout, cutmix, classmix.

As in the published code (U2PL, u2pl/dataset/augs_ALIA.py,
generate_unsup_data): a mask of each image in a loop, products with masks, and
a concatenation.
"""

from typing import Any

import numpy as np
import torch

from benchmarks import arrays
from benchmarks.peers import torch_common, torch_losses


def make_box_mask(
  height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
  """float32 [H, W], 0 in a random box of half the area, else 1."""
  box_width = rng.integers(int(width / 2 + 1), width)
  box_height = int(np.round(height * width / 2 / box_width))
  left = rng.integers(0, width - box_width + 1)
  top = rng.integers(0, height - box_height + 1)
  mask = np.ones((height, width), np.float32)
  mask[top : top + box_height, left : left + box_width] = 0
  return mask


def make_class_mask(labels: torch.Tensor) -> torch.Tensor:
  """float32 [H, W], 1 on half (floor) of the classes that are present."""
  classes = torch.unique(labels)
  order = torch.randperm(len(classes), device=labels.device)
  chosen = classes[order[: len(classes) // 2]]
  return (labels[None] == chosen[:, None, None]).any(dim=0).float()


def make_masks(
  labels: torch.Tensor, mode: str, rng: np.random.Generator
) -> torch.Tensor:
  """[B, H, W] of pseudo-labels [B, H, W]."""
  if mode == "classmix":
    return torch.stack([make_class_mask(own) for own in labels])
  masks = [make_box_mask(*labels.shape[1:], rng) for _ in labels]
  return torch.from_numpy(np.stack(masks)).to(labels.device)


def mix(
  masks: torch.Tensor, images: torch.Tensor, labels: torch.Tensor, mode: str
) -> tuple[torch.Tensor, torch.Tensor]:
  """Image i outside its mask becomes image i + 1, or is blanked by cutout.

  Args:
    masks: float32 [B, H, W], 1 where an image stays.
    images: [B, 3, H, W].
    labels: int64 [B, H, W].
    mode: one of cutout, cutmix, classmix.
  """
  mixed_images, mixed_labels = [], []
  for index, mask in enumerate(masks):
    partner = (index + 1) % len(masks)
    if mode == "cutout":
      image = images[index] * mask
      label = labels[index].masked_fill(mask == 0, torch_losses.IGNORE_LABEL)
    else:
      image = images[index] * mask + images[partner] * (1 - mask)
      label = labels[index] * mask + labels[partner] * (1 - mask)
    mixed_images.append(image[None])
    mixed_labels.append(label[None])
  return torch.cat(mixed_images), torch.cat(mixed_labels).long()


def make(settings: dict[str, Any]) -> "_Augment":
  """See `u2pl_jax.tools.benchmark_worker`.

  Args:
    settings: those of `benchmarks.ours.augment`, format and precision.
  """
  return _Augment(settings)


class _Augment:
  def __init__(self, settings):
    self._setting = torch_common.Setting(settings)
    self._mode = settings["config"]["augment"]["mode"]
    given = arrays.make_augment(settings)
    self.images = len(given["images"])
    self._images = self._setting.place(given["images"])
    self._labels = self._setting.place(given["labels"].astype(np.int64))
    self._rng = np.random.default_rng(settings["seed"])

  def run(self, calls: int) -> None:
    for _ in range(calls):
      masks = make_masks(self._labels, self._mode, self._rng)
      mix(masks, self._images, self._labels, self._mode)
    self._setting.wait()

  def describe(self) -> dict[str, Any]:
    return self._setting.describe({"images": self._images.shape})
