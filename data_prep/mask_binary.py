"""Masks that are black and white, maybe with soft edges."""

import numpy as np

from data_prep import examples, mask_colors, mask_files

# Values below the threshold, and no more than these, are rather class ids.
_FEW_VALUES = 2
_DARK = 32


def cut(
  name: str, stored: mask_files.Stored, threshold: int
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Tells black from white.

  Args:
    name: the mask.
    stored: its pixels.
    threshold: the least value that is white, of 255; of 65535 in files of 16
      bits whose values need them.

  Returns:
    bool [H, W], which pixels are white; what was done, in a few words each.

  Raises:
    examples.ProblemError: it has colors or holes, or, all below the threshold,
      what are rather class ids.
  """
  if stored.has_holes:
    raise examples.ProblemError(f"{name}: is transparent in places")
  gray = stored.gray
  if stored.palette is not None:
    used = mask_files.find_values(stored.values)
    colors = stored.palette[used]
    is_gray = (colors == colors[:, :1]).all()
    gray = stored.palette[:, 0][stored.values] if is_gray else None
  if gray is None:
    raise examples.ProblemError(
      f"{name}: {mask_colors.describe_first(stored)}; binary masks are black "
      "and white: --mask_values=colors reads others by a palette"
      f"{', --mask_values=ids by index' * (stored.palette is not None)}"
    )
  white, scale = 255, 1
  conversions = []
  if stored.bits > 8 and gray.max(initial=0) > 255:
    white, scale = 65535, 257
    conversions.append("16 bits to 8")
  present = mask_files.find_values(gray)
  if present[0] < 0 or present[-1] > white:
    raise examples.ProblemError(
      f"{name}: holds values of {present[0]} to {present[-1]}, which are not "
      "black and white"
    )
  highest, nonzero = int(present[-1]), np.count_nonzero(present)
  is_dark = not stored.is_lossy and highest < _DARK * scale
  if 0 < highest < threshold * scale and (nonzero <= _FEW_VALUES or is_dark):
    raise examples.ProblemError(
      f"{name}: holds no value above {highest}, and values below "
      f"{threshold * scale} are black: say --mask_values=ids if they are class "
      f"ids, or --threshold={highest} if they are white"
    )
  if not set(present.tolist()) <= {0, white}:
    conversions.append(f"soft edges cut at {threshold}")
  return gray >= threshold * scale, tuple(conversions)
