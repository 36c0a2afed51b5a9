"""Batches for training, as numpy arrays on the host.

The stream is a function of the step alone: which images a batch holds,
and each image's random numbers, follow from (seed, stream, position in the
stream). Nothing is replayed on resume, and the global batch is the same for
whatever number of processes, of which each reads its own part only.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from u2pl_jax.data import datasets, options, preprocess, reading, streams
from u2pl_jax.ops import normalize

Batch = dict[str, np.ndarray]


def make_train_iterator(
  dataset: datasets.Dataset,
  split: datasets.Split,
  settings: options.DataOptions,
  *,
  uses_unlabeled: bool = True,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Makes the endless stream of training batches, from `start_step` on.

  The labeled stream repeats its list, reshuffled each time. The unlabeled one
  takes `steps_per_epoch` batches of each shuffled pass and drops what is left.
  A list with fewer images than a batch is repeated within the batch.

  Args:
    dataset: where the images are.
    split: which of them are labeled and unlabeled.
    settings: sizes of batches and crops, and how these are drawn.
    uses_unlabeled: whether batches hold unlabeled images.
    seed: non-negative; the stream depends on nothing else that is random.
    start_step: step of the first batch.
    process_index: which part of each batch to make.
    process_count: number of processes that share a batch.

  Returns:
    Iterator of dicts of uint8 arrays, as `settings.batch_shapes` names them,
    of which the first axis counts this process's part.

  Raises:
    ValueError: process_count does not divide a batch; a number is negative.
  """
  batch_size_l = settings.batch_size_l
  batch_size_u = settings.batch_size_u if uses_unlabeled else 0
  for kind, size in (("labeled", batch_size_l), ("unlabeled", batch_size_u)):
    reading.check_divides(f"the {kind} batch", size, process_count)
  if seed < 0 or start_step < 0:
    raise ValueError(f"{seed=} and {start_step=} must not be negative")
  reading.hide_gpus()
  num_workers = settings.num_workers or reading.count_cpus()
  read = reading.record_reader(dataset.files["train"])

  def batches(stream, batch_size, *names):
    rows = reading.process_rows(batch_size, process_index, process_count)
    examples = _read_stream(stream, read, batch_size, rows, start_step)
    crop = functools.partial(_crop_example, names=names, settings=settings)
    examples = examples.map(crop, num_parallel_calls=num_workers)
    return examples.batch(len(rows), drop_remainder=True)

  labeled, unlabeled = streams.of_training(split, batch_size_u, seed)
  parts = [batches(labeled, batch_size_l, "image_l", "label_l")]
  if unlabeled:
    parts.append(batches(unlabeled, batch_size_u, "image_u"))
  merged = tf.data.Dataset.zip(*parts).map(_merge)
  merged = merged.prefetch(2).with_options(reading.make_options(num_workers))
  return merged.as_numpy_iterator()


def steps_per_epoch(split: datasets.Split, batch_size_u: int) -> int:
  """Returns the steps of one pass over the unlabeled list, at least one."""
  return max(len(split.unlabeled) // batch_size_u, 1)


def _read_stream(
  stream: streams.Stream,
  read: Callable[[np.ndarray], np.ndarray],
  batch_size: int,
  rows: np.ndarray,
  start_step: int,
) -> tf.data.Dataset:
  """Returns the examples of `stream` with their random numbers, one by one."""

  def read_batch(step):
    positions = step * batch_size + rows
    draws = stream.draws_at(positions, preprocess.NUM_DRAWS)
    return read(stream.records_at(positions)), draws

  steps = range(start_step, np.iinfo(np.int64).max)
  shape = (len(rows), preprocess.NUM_DRAWS)
  return reading.read_steps(steps, read_batch, tf.float64, shape)


def _crop_example(
  serialized: tf.Tensor,
  draws: tf.Tensor,
  *,
  names: tuple[str, ...],
  settings: options.DataOptions,
) -> dict[str, tf.Tensor]:
  """Crops of an example by name: its image and, if two are named, its mask."""
  with_label = len(names) == 2
  pixels = preprocess.decode_example(serialized, with_label=with_label)
  crops = reading.map_crops(
    functools.partial(_crop_randomly, settings=settings),
    [draws, *pixels],
    settings.crop_size,
    with_label=with_label,
  )
  return dict(zip(names, crops, strict=True))


def _crop_randomly(
  draws: np.ndarray,
  image: np.ndarray,
  label: np.ndarray | None = None,
  *,
  settings: options.DataOptions,
) -> list[np.ndarray]:
  """Returns a random crop of an image and of its mask, where there is one."""
  window = preprocess.random_window(
    image.shape[:2],
    draws,
    crop_size=settings.crop_size,
    scale_range=settings.scale_range,
    flip_prob=settings.flip_prob,
  )
  image = preprocess.resize_image(image, window)
  size = settings.crop_size
  crops = [preprocess.pad_to_crop(image, size, normalize.MEAN_COLOR)]
  if label is not None:
    label = preprocess.resize_label(label, window)
    crops.append(preprocess.pad_to_crop(label, size, settings.pad_label))
  return crops


def _merge(*parts: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  return {name: value for part in parts for name, value in part.items()}
