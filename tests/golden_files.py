"""Recorded arrays that the tests compare with, tests/golden/NAME.npz.

`paper_*` come from a float64 oracle of the paper's rules, the others from
running the authors' published PyTorch code (github.com/Haochen-Wang409/U2PL,
commit ab3d2be) in float32. Images and features are NCHW there, masks called
`*_mask_large` or `keep_mask_*` packed bits. Of the `contra_*_c5` files with
several calls, only the first ones and no `grad_rep_original` are kept.
"""

import pathlib

import numpy as np

_FOLDER = pathlib.Path(__file__).parent / "golden"


def load(name: str) -> dict[str, np.ndarray]:
  """All arrays of tests/golden/NAME.npz."""
  with np.load(_FOLDER / f"{name}.npz") as arrays:
    return dict(arrays)


def unpack_mask(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Bool array of `shape` from `numpy.packbits` of it."""
  return np.unpackbits(bits)[: np.prod(shape)].reshape(shape).astype(bool)


def channels_last(array: np.ndarray) -> np.ndarray:
  """[B, C, H, W] to [B, H, W, C]."""
  return np.moveaxis(array, 1, -1)
