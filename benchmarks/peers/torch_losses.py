"""Cross entropy, OHEM, partition and unsupervised loss in PyTorch.

Operation by operation as in the published code (U2PL, u2pl/utils/loss_helper.py
and train_semi.py): percentiles by numpy, entropy anew where it is needed,
ignored pixels left to `cross_entropy`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.peers import torch_network

IGNORE_LABEL = 255


def supervised_loss(
  outputs: Mapping[str, torch.Tensor],
  labels: torch.Tensor,
  options: Mapping[str, Any],
) -> torch.Tensor:
  """Of the main and, where there is one, the auxiliary prediction.

  Args:
    outputs: pred and perhaps aux, [B, K, h, w].
    labels: int64 [B, H, W], 255 ignored.
    options: the config's section `loss`.
  """
  pixel_loss = _ohem if options["kind"] == "ohem" else _cross_entropy
  size = labels.shape[1:]
  loss = pixel_loss(
    torch_network.resize(outputs["pred"], size), labels, options
  )
  if "aux" in outputs:
    aux = torch_network.resize(outputs["aux"], size)
    loss = loss + options["aux_weight"] * pixel_loss(aux, labels, options)
  return loss


def _cross_entropy(logits, labels, options=None):
  return F.cross_entropy(logits, labels, ignore_index=IGNORE_LABEL)


def _ohem(logits, labels, options):
  """Over the pixels whose class is improbable, at least `ohem_min_kept`."""
  min_kept = options["ohem_min_kept"]
  valid = labels != IGNORE_LABEL
  if min_kept and min_kept <= int(valid.sum()):
    with torch.no_grad():
      probs = F.softmax(logits, dim=1)
      own = probs.gather(1, (labels * valid)[:, None])[:, 0]
      own = own.masked_fill(~valid, 1.0).flatten()
      place = min(own.numel(), min_kept) - 1
      threshold = own.sort().values[place].clamp(min=options["ohem_threshold"])
      hard = (own <= threshold).reshape(labels.shape)
      labels = labels.masked_fill(~hard, IGNORE_LABEL)
  return _cross_entropy(logits, labels)


def entropy(logits: torch.Tensor) -> torch.Tensor:
  """[B, H, W] of the softmax, nats."""
  probs = F.softmax(logits, dim=1)
  return -torch.sum(probs * torch.log(probs + 1e-10), dim=1)


def _percentile(
  values: torch.Tensor, valid: torch.Tensor, percent: float
) -> float:
  return np.percentile(values[valid].cpu().numpy(), percent)


def unsupervised_loss(
  logits: torch.Tensor,
  labels: torch.Tensor,
  logits_teacher: torch.Tensor,
  drop_percent: float,
) -> torch.Tensor:
  """Cross entropy of the pixels that the teacher is surest of.

  Args:
    logits: [B, K, H, W], the student's.
    labels: int64 [B, H, W], pseudo-labels, 255 where there is none.
    logits_teacher: [B, K, H, W], in train mode.
    drop_percent: percentile of its entropy from which pixels are dropped.
  """
  with torch.no_grad():
    valid = labels != IGNORE_LABEL
    entropies = entropy(logits_teacher)
    threshold = _percentile(entropies, valid, drop_percent)
    dropped = entropies.ge(threshold) & valid
    labels = labels.masked_fill(dropped, IGNORE_LABEL)
    weight = labels.numel() / (labels != IGNORE_LABEL).sum()
  return weight * _cross_entropy(logits, labels)


def partition(
  logits_teacher: torch.Tensor,
  labels: torch.Tensor,
  unreliable_percent: float,
  reliable: str,
) -> tuple[torch.Tensor, torch.Tensor]:
  """Reliable and unreliable pixels, bool [B, H, W], of unlabeled images.

  Args:
    logits_teacher: [B, K, H, W], in train mode.
    labels: int64 [B, H, W], pseudo-labels.
    unreliable_percent: alpha_t.
    reliable: "lowest", published, or "below_unreliable", the paper's.
  """
  with torch.no_grad():
    valid = labels != IGNORE_LABEL
    entropies = entropy(logits_teacher)
    high = _percentile(entropies, valid, 100 - unreliable_percent)
    if reliable == "below_unreliable":
      return entropies.le(high) & valid, entropies.gt(high) & valid
    low = _percentile(entropies, valid, unreliable_percent)
    return entropies.le(low) & valid, entropies.ge(high) & valid


def one_hot(
  labels: torch.Tensor, num_classes: int, stack: int = 1
) -> torch.Tensor:
  """Classes of labels [B, H, W], float32 [B, K, H, W]; of 255 none.

  Args:
    labels: int64.
    num_classes: K.
    stack: images of a group whose classes are written onto its first image,
      the slip of the published code; 1 for none.
  """
  ignored = labels == IGNORE_LABEL
  outputs = []
  for own, missing in zip(labels.split(stack), ignored.split(stack)):
    group = own.new_zeros((num_classes, *own.shape), dtype=torch.float32)
    group.scatter_(0, own.masked_fill(missing, 0)[:, None], 1.0)
    group[:, missing] = 0
    outputs.append(group.permute(1, 0, 2, 3))
  return torch.cat(outputs)


def shrink(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
  """Nearest neighbors of float maps [B, C, H, W]."""
  return F.interpolate(maps, size, mode="nearest")
