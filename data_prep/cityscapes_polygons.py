"""Draws masks of Cityscapes' polygons with its official package.

The package is wanted only here, and only where there are no drawn masks.
"""

import numpy as np

from data_prep import examples

_INSTALL = "pip install cityscapesscripts"


def check_installed() -> None:
  """Raises ImportError, which says what to install, without the package."""
  try:
    from cityscapesscripts.preparation import json2labelImg  # noqa: F401
  except ImportError as error:
    raise ImportError(
      "masks of polygons are drawn by the package cityscapesscripts, which "
      f"cannot be imported ({error}): {_INSTALL}"
    ) from error


def draw(file: examples.File) -> np.ndarray:
  """Reads *_polygons.json and draws it.

  Where it and the official *_labelIds.png differ, in about one pixel of 200,
  it is nearly always by a pixel at the border of an object.

  Args:
    file: the polygons.

  Returns:
    [H, W] uint8, the ids of *_labelIds.png.

  Raises:
    ProblemError: the file is damaged or has labels Cityscapes does not have.

  Reference: cityscapesscripts/preparation/json2labelImg.py, createLabelImage.
  """
  from cityscapesscripts.helpers import annotation, labels
  from cityscapesscripts.preparation import json2labelImg

  content = examples.read(file)
  polygons = annotation.Annotation()
  try:
    polygons.fromJsonText(content.decode())
    used = {obj.label for obj in polygons.objects if not obj.deleted}
    unknown = [
      label
      for label in sorted(used)
      if label.removesuffix("group") not in labels.name2label
      and label not in labels.name2label
    ]
    if not unknown:
      return np.asarray(json2labelImg.createLabelImage(polygons, "ids"))
  except (ValueError, TypeError, LookupError, AttributeError) as error:
    raise examples.ProblemError(
      f"{file.name}: not polygons of Cityscapes ({error!r})"
    ) from error
  # The package would end the program.
  raise examples.ProblemError(
    f"{file.name}: label {unknown[0]!r} is none of Cityscapes"
  )
