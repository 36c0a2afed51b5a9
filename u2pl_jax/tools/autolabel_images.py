"""Which images a run has no masks of, and those of which it has."""

import functools
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow_datasets as tfds

from u2pl_jax.data import datasets, image_files, matching
from u2pl_jax.predict import embedding, photographs, trained

Ids = dict[photographs.Photograph, str]


def choose_unlabeled(
  images: Sequence[photographs.Photograph],
  dataset: datasets.Dataset,
  where: str,
  value_range: tuple[int, int] | None = None,
) -> Ids:
  """The images that have no mask in a dataset, whether or not they are in it.

  Args:
    images: image files.
    dataset: the dataset of a run.
    where: the folder of the images, for the message.
    value_range: see `photographs.read`.

  Returns:
    The id of each; of one that the dataset does not hold, its name.

  Raises:
    ValueError: all have masks, or one has the name of another image that has;
      one line.
  """
  stored = _Stored(dataset)
  index = matching.Index([*dataset.ids["train"], *dataset.ids["val"]])
  masked = {dataset.ids["train"][record] for record in _find_masked(dataset)}
  masked |= set(dataset.ids["val"])
  found = {}
  for image in images:
    name = image.name.removesuffix(image.path.suffix)
    related = index.related(name)
    if len(related) > 1 or masked.intersection(related):
      related = _compare(image, related, stored, value_range)
    if not masked.intersection(related):
      found[image] = related[0] if related else name
  if not found:
    raise ValueError(
      f"--images={where}: no unlabeled image is left, dataset {dataset.name!r}"
      f" has masks of all {len(images)}; name a folder with further images"
    )
  return found


def _compare(
  image: photographs.Photograph,
  related: Collection[str],
  stored: "_Stored",
  value_range: tuple[int, int] | None,
) -> list[str]:
  """Those of several images that are the same, pixel by pixel.

  Raises:
    ValueError: none of them is; one line.
  """
  try:
    pixels = photographs.read(image.path, value_range)
  except image_files.UnreadableError:  # Predicting it says why.
    return []
  same = [i for i in related if np.array_equal(stored.read(i), pixels)]
  if not same:
    raise ValueError(
      f"{image.path}: is another image than {' or '.join(map(repr, related))},"
      f" as it is called in dataset {stored.name!r}; rename the file"
    )
  return same


def embed_labeled(
  network: trained.Trained, dataset: datasets.Dataset
) -> np.ndarray:
  """[m, C], features of the training images that have masks."""
  ids = [dataset.ids["train"][record] for record in _find_masked(dataset)]
  return np.stack(list(embedding.compute(network, ids, _Stored(dataset).read)))


def _find_masked(dataset: datasets.Dataset) -> list[int]:
  """The records of training images that have masks."""
  return np.flatnonzero(dataset.has_label["train"]).tolist()


class _Stored:
  """The images of a dataset, as they are stored."""

  def __init__(self, dataset: datasets.Dataset):
    self._path, self._ids = dataset.path, dataset.ids
    self.name = dataset.name

  def read(self, example_id: str) -> np.ndarray:
    """uint8 [H, W, 3]."""
    part, record = self._places[example_id]
    return image_files.decode(self._records[part][record]["image"]).pixels

  @functools.cached_property
  def _places(self) -> dict[str, tuple[str, int]]:
    return {
      example_id: (part, record)
      for part, ids in self._ids.items()
      for record, example_id in enumerate(ids)
    }

  @functools.cached_property
  def _records(self):
    undecoded = tfds.decode.SkipDecoding()
    builder = tfds.builder_from_directory(self._path)
    return {
      part: builder.as_data_source(
        part, decoders={"image": undecoded, "label": undecoded}
      )
      for part in self._ids
    }
