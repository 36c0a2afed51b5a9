"""Synthetic inputs of all benchmarks, the same for both sides; numpy alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

IGNORE_LABEL = 255
_BLOCK = 16  # Pixels along the side of a patch of one class.
_IGNORED = 0.05  # Share of the patches without a label.


def make_images(rng: np.random.Generator, *shape: int) -> np.ndarray:
  """Noise, uint8 [*shape, 3]."""
  return rng.integers(0, 256, (*shape, 3), np.uint8)


def make_labels(
  rng: np.random.Generator,
  batch: int,
  size: tuple[int, int],
  num_present: int,
  *,
  block: int = _BLOCK,
) -> np.ndarray:
  """Patches of the first `num_present` classes, some ignored.

  Every class is there if there are patches enough.

  Args:
    rng: random numbers.
    batch: B.
    size: (H, W).
    num_present: classes that occur.
    block: side of a patch.

  Returns:
    uint8 [B, H, W], of these classes and 255.
  """
  rows, columns = (-(-side // block) for side in size)
  count = batch * rows * columns
  patches = rng.permutation(np.arange(count, dtype=np.uint8) % num_present)
  patches[rng.random(count) < _IGNORED] = IGNORE_LABEL
  patches = patches.reshape(batch, rows, columns)
  labels = patches.repeat(block, axis=1).repeat(block, axis=2)
  return np.ascontiguousarray(labels[:, : size[0], : size[1]])


def make_logits(
  rng: np.random.Generator, labels: np.ndarray, num_classes: int
) -> np.ndarray:
  """Noisy logits of a network that is right in most places.

  Args:
    rng: random numbers.
    labels: [B, H, W], whose classes get the higher logits.
    num_classes: K.

  Returns:
    float32 [B, H, W, K].
  """
  shape = (*labels.shape, num_classes)
  logits = rng.standard_normal(shape, np.float32)
  logits += 4.0 * (labels[..., None] == np.arange(num_classes))
  return logits


def make_keys(rng: np.random.Generator, width: int) -> np.ndarray:
  """A few keys, float32 [R, D], to fill a bank with again and again."""
  return rng.standard_normal((997, width), np.float32)


def make_step(settings: dict) -> dict[str, np.ndarray]:
  """A batch of the training step: image_l, label_l, image_u, uint8."""
  data = settings["config"]["data"]
  rng = np.random.default_rng(settings["seed"])
  size = tuple(data["crop_size"])
  batch = {
    "image_l": make_images(rng, data["batch_size_l"], *size),
    "label_l": make_labels(
      rng, data["batch_size_l"], size, settings["num_present"]
    ),
  }
  if settings["uses_unlabeled"]:
    batch["image_u"] = make_images(rng, data["batch_size_u"], *size)
  return batch


def make_rest(
  shapes: Mapping[str, Any], settings: dict
) -> dict[str, np.ndarray]:
  """What a method asks for beside the batch of `make_step`.

  Args:
    shapes: name -> shape and dtype of the arrays.
    settings: as of `make_step`.

  Returns:
    Images and labels as there, and zeros: no padding, the first of a list.
  """
  rng = np.random.default_rng((settings["seed"], 1))
  rest = {}
  for name, array in shapes.items():
    if name.startswith("image_"):
      rest[name] = make_images(rng, *array.shape[:-1])
    elif name.startswith("label_"):
      batch, *size = array.shape
      rest[name] = make_labels(rng, batch, size, settings["num_present"])
    else:
      rest[name] = np.zeros(array.shape, array.dtype)
  return rest


def make_contrast(settings: dict) -> dict[str, np.ndarray]:
  """Feature maps of a batch, labeled images first.

  Returns:
    rep, rep_teacher: float32 [B, h, w, D].
    probs: float32 [B, h, w, K], the teacher's.
    labels: uint8 [B, h, w], with pseudo-labels.
    reliable, unreliable: bool [B, h, w], for `semi.reliable` of the config.
  """
  config, num_classes = settings["config"], settings["num_classes"]
  data, semi = config["data"], config["semi"]
  rng = np.random.default_rng(settings["seed"])
  num_labeled = data["batch_size_l"]
  batch = num_labeled + data["batch_size_u"]
  size = tuple((side - 1) // 4 + 1 for side in data["crop_size"])
  labels = make_labels(rng, batch, size, settings["num_present"], block=4)
  logits = make_logits(rng, labels, num_classes)
  logits -= logits.max(axis=-1, keepdims=True)
  np.exp(logits, out=logits)
  probs = logits / logits.sum(axis=-1, keepdims=True)
  shape = (*labels.shape, config["decoder"]["rep_channels"])
  is_labeled = (np.arange(batch) < num_labeled)[:, None, None]
  valid = labels != IGNORE_LABEL
  # As by entropy: of the unlabeled pixels a share is unreliable, and either
  # all others are reliable or an equal share of them.
  share = semi["unreliable_percent"] / 100
  place = rng.random(labels.shape)
  largest = share if semi["reliable"] == "lowest" else 1 - share
  return {
    "rep": rng.standard_normal(shape, np.float32),
    "rep_teacher": rng.standard_normal(shape, np.float32),
    "probs": probs,
    "labels": labels,
    "reliable": valid & (is_labeled | (place < largest)),
    "unreliable": valid & ~is_labeled & (place >= 1 - share),
  }


def make_partition(settings: dict) -> dict[str, np.ndarray]:
  """Full-size logits and pseudo-labels of unlabeled images.

  Returns:
    student, teacher: float32 [B, H, W, K].
    labels: uint8 [B, H, W].
  """
  data = settings["config"]["data"]
  rng = np.random.default_rng(settings["seed"])
  size, batch = tuple(data["crop_size"]), data["batch_size_u"]
  labels = make_labels(rng, batch, size, settings["num_present"])
  num_classes = settings["num_classes"]
  return {
    "student": make_logits(rng, labels, num_classes),
    "teacher": make_logits(rng, labels, num_classes),
    "labels": labels,
  }


def make_augment(settings: dict) -> dict[str, np.ndarray]:
  """Images, float32 [B, H, W, 3], and their pseudo-labels, int32 [B, H, W]."""
  data = settings["config"]["data"]
  rng = np.random.default_rng(settings["seed"])
  size, batch = tuple(data["crop_size"]), data["batch_size_u"]
  labels = make_labels(rng, batch, size, settings["num_present"])
  labels[labels == IGNORE_LABEL] = 0
  return {
    "images": rng.standard_normal((batch, *size, 3), np.float32),
    "labels": labels.astype(np.int32),
  }


def make_eval(settings: dict) -> np.ndarray:
  """Images, uint8 [B, H, W, 3]."""
  rng = np.random.default_rng(settings["seed"])
  return make_images(rng, settings["batch_size"], *settings["image_size"])
