"""Saves what a network predicts on a validation set, one PNG an image."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from etils import epath
from PIL import Image

from u2pl_jax.data import cityscapes_labels
from u2pl_jax.evaluation import visualize
from u2pl_jax.ops import crop
from u2pl_jax.runtime import sharding

# "index": class ids, gray; "color": class ids with the dataset's palette;
# "cityscapes": the ids that Cityscapes' own evaluation wants.
FORMATS = ("index", "color", "cityscapes")


def parse_formats(text: str, num_classes: int) -> tuple[str, ...]:
  """Reads "index,color"; "" for none.

  Raises:
    ValueError: a format is unknown, or does not go with so many classes.
  """
  formats = tuple(filter(None, text.split(",")))
  for name in formats:
    if name not in FORMATS:
      raise ValueError(
        f"--save_predictions={text}: {name!r} is none of {', '.join(FORMATS)}"
      )
  expected = len(cityscapes_labels.CLASS_NAMES)
  if "cityscapes" in formats and num_classes != expected:
    raise ValueError(
      f"--save_predictions={text}: cityscapes needs its {expected} classes, the"
      f" network has {num_classes}"
    )
  return formats


class Saver:
  """Writes FOLDER/FORMAT/ID.png for each image of the batches it is given."""

  def __init__(
    self,
    folder: epath.Path,
    formats: Sequence[str],
    ids: Sequence[str],
    palette: Sequence[Sequence[int]],
  ):
    """Stores what is needed later; nothing is written yet.

    Args:
      folder: the folder that the predictions go to.
      formats: some of `FORMATS`.
      ids: the ids of the validation images, by record.
      palette: [K] RGB.
    """
    self._folder = folder
    self._formats = formats
    self._ids = ids
    self._palette = palette

  def __call__(
    self, batch: Mapping[str, np.ndarray], predictions: jax.Array
  ) -> None:
    """Writes this process's part of a batch.

    Args:
      batch: whole images, as `eval_pipeline.make_eval_batches` yields them.
      predictions: uint8 [B, H, W], class ids of the padded images.

    Raises:
      OSError: a file cannot be written.
    """
    rows = zip(
      batch["record"],
      batch["size"],
      sharding.local_rows(predictions),
      strict=True,
    )
    for record, size, padded in rows:
      if record < 0:
        continue
      labels = crop.center_crop(padded, size)
      for name in self._formats:
        path = self._folder / name / f"{self._ids[record]}.png"
        visualize.write_picture(path, self._draw(name, labels))

  def _draw(self, name: str, labels: np.ndarray) -> Image.Image:
    """The picture of one of the formats."""
    if name == "color":
      return visualize.draw_classes(labels, self._palette)
    if name == "cityscapes":
      labels = cityscapes_labels.to_label_ids(labels)
    return Image.fromarray(np.ascontiguousarray(labels))
