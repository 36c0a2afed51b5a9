"""The center of an image, as every padded or cropped image is read back."""

import numpy as np


def center_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """A view of the center; a side shorter than the crop is kept whole.

  Of an odd margin, the far side has one pixel more, as where images are padded.

  Args:
    image: [H, W, ...].
    size: (height, width) of the crop.

  Returns:
    [min(H, height), min(W, width), ...].
  """
  h, w = (min(n, c) for n, c in zip(image.shape[:2], size, strict=True))
  y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
  return image[y : y + h, x : x + w]
