"""Batches for training, as numpy arrays on the host.

The stream is a function of the step alone: which images a batch holds,
and each image's random numbers, follow from (seed, stream, position in the
stream). Nothing is replayed on resume, and the global batch is the same for
whatever number of processes, of which each reads its own part only. Images
that a method asks for while it trains are the one exception: they are a
function of what was asked for, too.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from u2pl_jax.data import (
  crops,
  datasets,
  options,
  reading,
  requested,
  streams,
)
from u2pl_jax.data import supply as supply_lib

Batch = dict[str, np.ndarray]


class TrainBatches(Iterator[Batch]):
  """The endless stream of this process's part of each training batch."""

  def __init__(
    self,
    read_ahead: Iterator[Batch],
    numbers: Callable[[int], Batch],
    asked_for: requested.Images | None,
    start_step: int,
  ):
    """Joins what comes from several places.

    Args:
      read_ahead: what depends on seed and step alone.
      numbers: int32 arrays at a step.
      asked_for: second images; None where the method asks for none.
      start_step: of the first batch.
    """
    self._read_ahead = read_ahead
    self._numbers = numbers
    self._asked_for = asked_for
    self._step = start_step

  def __next__(self) -> Batch:
    step, self._step = self._step, self._step + 1
    batch = next(self._read_ahead) | self._numbers(step)
    if self._asked_for is not None:
      batch |= self._asked_for.take(step)
    return batch

  def ask(self, step: int, requests: Mapping[str, np.ndarray]) -> None:
    """Says what the second images of a step shall be, before it is drawn.

    Args:
      step: of the batch.
      requests: int32 [B_u] each, of the global batch; `position_u2` among them.
    """
    self._asked_for.ask(step, requests)


def make_train_iterator(
  dataset: datasets.Dataset,
  split: datasets.Split,
  settings: options.DataOptions,
  *,
  supply: supply_lib.Supply = supply_lib.Supply(unlabeled=True),
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> TrainBatches:
  """Makes the endless stream of training batches, from `start_step` on.

  The labeled stream repeats its list, reshuffled each time. The unlabeled one
  takes `steps_per_epoch` batches of each shuffled pass and drops what is left.
  A list with fewer images than a batch is repeated within the batch. With
  `data.pairing=fixed` both have one order.

  Args:
    dataset: where the images are.
    split: which of them are labeled and unlabeled.
    settings: sizes of batches and crops, and how these are drawn.
    supply: what batches hold.
    seed: non-negative; the stream depends on nothing else that is random.
    start_step: step of the first batch.
    process_index: which part of each batch to make.
    process_count: number of processes that share a batch.

  Returns:
    Iterator of dicts of arrays, as `settings.batch_shapes` names them, of which
    the first axis counts this process's part.

  Raises:
    ValueError: process_count does not divide a batch; a number is negative.
  """
  if seed < 0 or start_step < 0:
    raise ValueError(f"{seed=} and {start_step=} must not be negative")
  reading.hide_gpus()
  threads = settings.num_workers or reading.count_cpus()
  read = reading.record_reader(dataset.files["train"])
  sizes = settings.batch_size_l, settings.batch_size_u * supply.unlabeled
  both = streams.of_training(split, sizes[1], seed, pairing=settings.pairing)
  labeled, unlabeled = (
    requested.take_share(kind, stream, size, process_index, process_count)
    for kind, stream, size in zip(("labeled", "unlabeled"), both, sizes)
  )
  parts = [
    _read_crops(crop, share, read, start_step, threads)
    for crop in crops.read_ahead(settings, supply)
    for share in [unlabeled if crop.suffix in supply.suffixes else labeled]
  ]
  crop = crops.asked_for(settings, supply)
  return TrainBatches(
    _join(parts, threads),
    functools.partial(_numbers, supply, unlabeled),
    crop and requested.Images(crop, unlabeled, read, threads),
    start_step,
  )


def steps_per_epoch(split: datasets.Split, batch_size_u: int) -> int:
  """Returns the steps of one pass over the unlabeled list, at least one."""
  return max(len(split.unlabeled) // batch_size_u, 1)


def _read_crops(
  crop: crops.Crop,
  share: requested.Share,
  read: Callable[[np.ndarray], np.ndarray],
  start_step: int,
  num_workers: int,
) -> tf.data.Dataset:
  """Returns this process's part of one kind of images, batch by batch.

  Args:
    crop: which images, and how they are cropped.
    share: of their stream.
    read: serialized records by their indices.
    start_step: of the first batch.
    num_workers: threads.
  """
  count = len(share.rows)

  def read_batch(step):
    records, draws = crop.find(share.stream, share.positions(step))
    serialized = np.full(count, b"", object)
    serialized[records >= 0] = read(records[records >= 0])
    return serialized, draws

  steps = range(start_step, np.iinfo(np.int64).max)
  examples = reading.read_steps(
    steps, read_batch, tf.float64, (count, crops.NUM_DRAWS)
  )
  examples = examples.map(crop.make, num_parallel_calls=num_workers)
  return examples.batch(count, drop_remainder=True)


def _numbers(
  supply: supply_lib.Supply, unlabeled: requested.Share, step: int
) -> Batch:
  """Where the unlabeled images of a step stand in their list."""
  if not supply.positions:
    return {}
  places = unlabeled.stream.places_at(unlabeled.positions(step))
  numbers = {"position_u": places.astype(np.int32)}
  if supply.second == "same":
    numbers["position_u2"] = numbers["position_u"]
  return numbers


def _join(
  parts: Sequence[tf.data.Dataset], num_workers: int
) -> Iterator[Batch]:
  """Batches of all the arrays, read ahead."""

  def merge(*arrays):
    return {name: value for part in arrays for name, value in part.items()}

  merged = tf.data.Dataset.zip(*parts).map(merge).prefetch(2)
  return merged.with_options(
    reading.make_options(num_workers)
  ).as_numpy_iterator()
