"""What is known of the published datasets without having them."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_prep import split_lists
from u2pl_jax.data import cityscapes_labels, datasets, palettes

# Folder of lists and names of classes, by dataset.
_KNOWN = {
  "voc": ("pascal", palettes.VOC_NAMES),
  "cityscapes": ("cityscapes", cityscapes_labels.CLASS_NAMES),
}


def stand_in(
  data: Mapping[str, Any],
) -> tuple[datasets.Dataset, datasets.Split] | None:
  """A published dataset and its split, as far as a dry run asks for them.

  Args:
    data: the section `data` of a config.

  Returns:
    Classes, and numbers of images in place of their records; None where the
    dataset is prepared, or where it or its split is not a published one.
  """
  name, split = data["name"], data["split"]
  path = datasets.dataset_path(name, data["data_dir"])
  if name not in _KNOWN or path.is_dir():
    return None
  folder, class_names = _KNOWN[name]
  splits = split_lists.read(split_lists.FOLDERS[folder]).splits
  if split not in splits:
    return None
  dataset = datasets.Dataset(
    name=name,
    path=pathlib.Path(path),
    class_names=tuple(class_names),
    palette=(),
    ignore_label=255,
    ids={},
    has_label={},
    files={},
    contents={},
    parameters={},
  )
  counts = map(len, splits[split])
  return dataset, datasets.Split(split, *map(np.arange, counts))
