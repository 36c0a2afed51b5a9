"""What is known of the published datasets without having them."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep import split_lists
from data_prep.layouts import ade20k
from u2pl_jax.data import cityscapes_labels, datasets, palettes


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
  if path.is_dir():
    return None
  class_names, splits = _read(name)
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


@functools.cache
def _read(
  name: str,
) -> tuple[Sequence[str], Mapping[str, tuple[list[str], list[str]]]]:
  """Names of classes, and splits; both empty of what is not known."""
  match name:
    case "voc":
      lists = split_lists.read(split_lists.FOLDERS["pascal"])
      return palettes.VOC_NAMES, lists.splits
    case "cityscapes":
      lists = split_lists.read(split_lists.FOLDERS["cityscapes"])
      return cityscapes_labels.CLASS_NAMES, lists.splits
    case ade20k.NAME:
      return ade20k.read_class_names(), ade20k.read_splits()
  return (), {}
