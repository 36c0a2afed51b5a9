"""Recordings for the peers, which see arrays as PyTorch does."""

import numpy as np
import torch


def tensor(array, dtype=None):
  return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def labels(array):
  return tensor(array, torch.int64)


def first_ones(limit, count, device):
  """The arange sampler of the recordings."""
  return torch.arange(count, device=device) % limit


def make_setting(memory_format="contiguous"):
  return {"format": memory_format, "precision": "float32", "seed": 0}
