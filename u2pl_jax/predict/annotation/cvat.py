"""Masks for CVAT, as it imports "Segmentation mask 1.1".

  cvat.zip          labelmap.txt, ImageSets/Segmentation/default.txt,
                    SegmentationClass/NAME.png with the colors of the labels,
                    SegmentationObject/NAME.png with one object for each label
  cvat_labels.json  the labels, to be pasted into the task ("Raw")

Pixels that are black in SegmentationObject become no object.

Reference: docs.cvat.ai, dataset management, formats, Segmentation Mask.
"""

import io
import json
import os
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from u2pl_jax.data import palettes
from u2pl_jax.predict.annotation import labels as labels_lib

_OBJECT_COLORS = np.array(palettes.voc_palette(256), np.uint8)


def write(
  items: Sequence[labels_lib.Item],
  labels: Sequence[labels_lib.Label],
  folder: pathlib.Path,
) -> list[pathlib.Path]:
  """Writes both files; see the package."""
  archive, described = folder / "cvat.zip", folder / "cvat_labels.json"
  partial = archive.with_name(archive.name + ".tmp")
  with zipfile.ZipFile(partial, "w") as file:
    file.writestr("labelmap.txt", _describe(labels))
    names = "".join(f"{item.name}\n" for item in items)
    file.writestr("ImageSets/Segmentation/default.txt", names)
    for item in items:
      colors, objects = _draw(item.read_mask(), labels)
      file.writestr(f"SegmentationClass/{item.name}.png", _encode(colors))
      file.writestr(f"SegmentationObject/{item.name}.png", _encode(objects))
  os.replace(partial, archive)
  drawn = [
    {"name": label.name, "color": label.hex_color}
    for label in labels
    if label.is_drawn
  ]
  described.write_text(json.dumps(drawn, indent=2) + "\n")
  return [archive, described]


def _describe(labels: Sequence[labels_lib.Label]) -> str:
  """labelmap.txt."""
  lines = [
    f"{label.name}:{','.join(map(str, label.color))}::" for label in labels
  ]
  return "\n".join(["# label:color_rgb:parts:actions", *lines, ""])


def _draw(
  mask: np.ndarray, labels: Sequence[labels_lib.Label]
) -> tuple[np.ndarray, np.ndarray]:
  """Colors of the labels and of the objects, uint8 [H, W, 3] each."""
  colors = np.zeros((256, 3), np.uint8)
  objects = np.zeros((256, 3), np.uint8)
  present = set(np.unique(mask).tolist())
  number = 0
  for label in labels:
    colors[label.value] = label.color
    if label.is_drawn and label.value in present:
      number += 1
      objects[label.value] = _OBJECT_COLORS[number]
  return colors[mask], objects[mask]


def _encode(pixels: np.ndarray) -> bytes:
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, "PNG")
  return content.getvalue()
