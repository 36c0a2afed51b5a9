"""Images and masks as files, for any editor that can draw in a PNG file.

  images/NAME.*   copies
  masks/NAME.png  class ids in the colors of the labels; 255 is white
  classes.json    what values and colors of the masks mean, should the editor
                  store colors

The masks are the same for every tool; other modules write beside them.
"""

import json
import pathlib
import shutil
from collections.abc import Sequence

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.evaluation import visualize
from u2pl_jax.predict.annotation import labels as labels_lib

_WHITE = [255, 255, 255]


def write(
  items: Sequence[labels_lib.Item],
  labels: Sequence[labels_lib.Label],
  folder: pathlib.Path,
) -> list[pathlib.Path]:
  """Writes all files; returns the two folders and the file of classes."""
  images, masks = folder / "images", folder / "masks"
  classes = [label for label in labels if label.value != IGNORE_LABEL]
  palette = [label.color for label in classes]
  for item in items:
    copy = images / f"{item.name}{item.image.suffix}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(item.image, copy)
    mask = masks / f"{item.name}.png"
    mask.parent.mkdir(parents=True, exist_ok=True)
    visualize.draw_classes(item.read_mask(), palette).save(mask)
  described = folder / "classes.json"
  content = {
    "names": [label.name for label in classes],
    "palette": palette,
    "ignore_colors": [_WHITE],
    "values": {str(label.value): label.value for label in classes}
    | {str(IGNORE_LABEL): "ignore"},
  }
  described.write_text(json.dumps(content, indent=2) + "\n")
  return [images, masks, described]
