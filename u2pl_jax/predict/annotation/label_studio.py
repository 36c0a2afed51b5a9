"""Masks for Label Studio, as predictions of brush labels.

  label_studio.json  a task for each image, to be imported
  label_studio.xml   the labeling interface of the project

Images are looked for in local storage: their addresses are relative to
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, the folder that holds images/.

Reference: labelstud.io, tags, BrushLabels, and guide, predictions; the packing
of bits is that of github.com/thi-ng/umbrella, packages/rle-pack.
"""

import json
import pathlib
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.sax import saxutils

import numpy as np

from u2pl_jax.predict.annotation import labels as labels_lib

_TAG, _IMAGE = "tag", "image"
_ADDRESS = "/data/local-files/?d="
_CHANNELS = 4  # Each pixel is stored as RGBA, of which alpha is read.
_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)  # Of the length of a run, less 1.


def write(
  items: Sequence[labels_lib.Item],
  labels: Sequence[labels_lib.Label],
  folder: pathlib.Path,
) -> list[pathlib.Path]:
  """Writes both files; the addresses of images begin with images/."""
  tasks, interface = folder / "label_studio.json", folder / "label_studio.xml"
  found = [_make_task(item, labels) for item in items]
  tasks.write_text(json.dumps(found) + "\n")
  interface.write_text(_make_interface(labels))
  return [tasks, interface]


def _make_task(
  item: labels_lib.Item, labels: Sequence[labels_lib.Label]
) -> dict[str, Any]:
  mask = item.read_mask()
  path = f"images/{item.name}{item.image.suffix}"
  return {
    "data": {_IMAGE: _ADDRESS + urllib.parse.quote(path)},
    "predictions": [
      {
        "model_version": "u2pl_jax",
        "result": [
          _make_region(mask, label)
          for label in labels
          if label.is_drawn and (mask == label.value).any()
        ],
      }
    ],
  }


def _make_region(mask: np.ndarray, label: labels_lib.Label) -> dict[str, Any]:
  """All pixels of a label."""
  height, width = mask.shape
  packed = pack(np.where(mask == label.value, np.uint8(255), np.uint8(0)))
  return {
    "id": f"label_{label.value}",
    "type": "brushlabels",
    "from_name": _TAG,
    "to_name": _IMAGE,
    "original_width": width,
    "original_height": height,
    "image_rotation": 0,
    "value": {"format": "rle", "rle": packed, "brushlabels": [label.name]},
  }


def pack(pixels: np.ndarray) -> list[int]:
  """Run lengths as Label Studio stores them.

  Args:
    pixels: uint8 [H, W].

  Returns:
    The bytes of: the number of values (32 bits), the bits of a value less 1
    (5), four lengths of lengths less 1 (4 each); then, for each run, 1, which
    length of length it has (2), its length less 1, and the value (8).
  """
  header = [(_CHANNELS * pixels.size, 32), (_WORD_BITS - 1, 5)]
  header += [(bits - 1, 4) for bits in _LENGTH_BITS]
  words = [*header, *_pack_runs(_find_runs(pixels.ravel()))]
  text = "".join(f"{value:0{bits}b}" for value, bits in words)
  text += "0" * (-len(text) % 8)
  return list(int(text, 2).to_bytes(len(text) // 8))


def _find_runs(values: np.ndarray) -> Iterable[tuple[int, int]]:
  """Pairs of a value and how many times it is stored in a row."""
  ends = np.flatnonzero(np.append(values[1:] != values[:-1], True)) + 1
  lengths = np.diff(ends, prepend=0) * _CHANNELS
  return zip(values[ends - 1].tolist(), lengths.tolist(), strict=True)


def _pack_runs(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
  """Pairs of a number and its bits."""
  for value, length in runs:
    while length:
      part = min(length, 2 ** _LENGTH_BITS[-1])
      index = next(i for i, b in enumerate(_LENGTH_BITS) if part <= 2**b)
      yield 1, 1
      yield index, 2
      yield part - 1, _LENGTH_BITS[index]
      yield value, _WORD_BITS
      length -= part


def _make_interface(labels: Sequence[labels_lib.Label]) -> str:
  lines = [
    f"    <Label value={saxutils.quoteattr(label.name)}"
    f' background="{label.hex_color}"/>'
    for label in labels
    if label.is_drawn
  ]
  return "\n".join(
    [
      "<View>",
      f'  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>',
      f'  <BrushLabels name="{_TAG}" toName="{_IMAGE}">',
      *lines,
      "  </BrushLabels>",
      "</View>",
      "",
    ]
  )
