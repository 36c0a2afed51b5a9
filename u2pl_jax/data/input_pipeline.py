"""Batches for training and evaluation, as numpy arrays on the host.

The training stream is a function of the step alone: which images a batch holds,
and each image's random numbers, follow from (seed, stream, position in the
stream). Nothing is replayed on resume, and the global batch is the same for
whatever number of processes, of which each reads its own part only.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from array_record.python import array_record_data_source

import u2pl_jax
from u2pl_jax.data import datasets, preprocess, streams

Batch = dict[str, np.ndarray]


def make_train_iterator(
  dataset: datasets.Dataset,
  split: datasets.Split,
  *,
  batch_size_l: int,
  batch_size_u: int,
  crop_size: tuple[int, int],
  scale_range: tuple[float, float] = (0.5, 2.0),
  flip_prob: float = 0.5,
  pad_label: int = u2pl_jax.IGNORE_LABEL,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  num_workers: int | None = None,
) -> Iterator[Batch]:
  """Makes the endless stream of training batches, from `start_step` on.

  The labelled stream repeats the labelled list, reshuffled each time it is
  through. The unlabelled one takes `steps_per_epoch` batches of each shuffled
  pass over its list; what is left of a pass is dropped.

  Args:
    dataset: where the images are.
    split: which of them are labelled and unlabelled.
    batch_size_l: labelled images a step, over all processes.
    batch_size_u: unlabelled images a step, over all processes; 0 for none.
    crop_size: (height, width) of the crops.
    scale_range: smallest and greatest random scale.
    flip_prob: probability of mirroring an image.
    pad_label: label of the pixels beyond the image.
    seed: non-negative; the stream depends on nothing else that is random.
    start_step: step of the first batch.
    process_index: which part of each batch to make.
    process_count: number of processes that share a batch.
    num_workers: threads to decode and resample with; default: one a CPU.

  Returns:
    Iterator of dicts of uint8 arrays: image_l [B_l, H, W, 3] RGB, label_l
    [B_l, H, W] and, if batch_size_u > 0, image_u [B_u, H, W, 3] RGB; B_l and
    B_u count this process's part.

  Raises:
    ValueError: a batch is larger than its list or does not divide by
      process_count, or an argument is out of range.
  """
  check_batch_sizes(split, batch_size_l, batch_size_u, process_count)
  _check_augmentation(scale_range, flip_prob, seed, start_step)
  _hide_gpus()
  num_workers = num_workers or _count_cpus()
  read = _record_reader(dataset.files["train"])
  make_crops = functools.partial(
    _crop_randomly,
    crop_size=crop_size,
    scale_range=scale_range,
    flip_prob=flip_prob,
    pad_label=pad_label,
  )

  def batches(stream, batch_size, *names):
    rows = _process_rows(batch_size, process_index, process_count)
    with_label = len(names) == 2

    def crop(serialized, draws):
      pixels = preprocess.decode_example(serialized, with_label=with_label)
      inputs = [draws, *pixels]
      crops = _map_crops(make_crops, inputs, crop_size, with_label=with_label)
      return dict(zip(names, crops, strict=True))

    examples = _read_stream(stream, read, batch_size, rows, start_step)
    examples = examples.map(crop, num_parallel_calls=num_workers)
    return examples.batch(len(rows), drop_remainder=True)

  labeled, unlabeled = streams.of_training(split, batch_size_u, seed)
  parts = [batches(labeled, batch_size_l, "image_l", "label_l")]
  if unlabeled:
    parts.append(batches(unlabeled, batch_size_u, "image_u"))
  merged = tf.data.Dataset.zip(*parts).map(_merge)
  merged = merged.prefetch(2).with_options(_options(num_workers))
  return merged.as_numpy_iterator()


class EvalBatches:
  """The validation set as batches; each iteration goes through it once.

  Every process yields `len(self)` batches of the same size.
  """

  def __init__(self, batches: tf.data.Dataset):
    self._batches = batches

  def __len__(self) -> int:
    return len(self._batches)

  def __iter__(self) -> Iterator[Batch]:
    return self._batches.as_numpy_iterator()


def make_eval_batches(
  dataset: datasets.Dataset,
  *,
  tfds_split: str = "val",
  batch_size: int,
  crop_size: tuple[int, int],
  process_index: int = 0,
  process_count: int = 1,
  num_workers: int | None = None,
) -> EvalBatches:
  """Makes batches of centre crops, each image in exactly one of them.

  Args:
    dataset: where the images are.
    tfds_split: which part of it to go through, in record order.
    batch_size: images a step, over all processes.
    crop_size: (height, width) of the crops; smaller images are padded, all
      round, with the mean colour and label 255.
    process_index: which part of each batch to make.
    process_count: number of processes that share a batch.
    num_workers: threads to decode with; default: one a CPU.

  Returns:
    A re-iterable of dicts: image uint8 [B, H, W, 3] RGB, label uint8
    [B, H, W], mask bool [B]; B counts this process's part. Where mask is False
    the image fills up the last batch, and its label is 255 everywhere.

  Raises:
    ValueError: the batch does not divide by process_count.
  """
  _check_divides("batch_size", batch_size, process_count)
  _hide_gpus()
  num_workers = num_workers or _count_cpus()
  read = _record_reader(dataset.files[tfds_split])
  num_images = len(dataset.ids[tfds_split])
  rows = _process_rows(batch_size, process_index, process_count)

  def read_batch(step):
    positions = step * batch_size + rows
    # A batch beyond the end holds its last image again, masked.
    return read(np.minimum(positions, num_images - 1)), positions < num_images

  def crop(serialized, mask):
    image, label = _map_crops(
      functools.partial(_crop_center, crop_size=crop_size),
      preprocess.decode_example(serialized, with_label=True),
      crop_size,
    )
    label = tf.where(mask, label, tf.cast(u2pl_jax.IGNORE_LABEL, tf.uint8))
    return {"image": image, "label": label, "mask": mask}

  num_steps = -(-num_images // batch_size)
  examples = _read_steps(range(num_steps), read_batch, tf.bool, (len(rows),))
  examples = examples.map(crop, num_parallel_calls=num_workers)
  batches = examples.batch(len(rows), drop_remainder=True).prefetch(2)
  batches = batches.apply(tf.data.experimental.assert_cardinality(num_steps))
  return EvalBatches(batches.with_options(_options(num_workers)))


def steps_per_epoch(split: datasets.Split, batch_size_u: int) -> int:
  """Returns the steps of one pass over the unlabelled list."""
  return len(split.unlabeled) // batch_size_u


def check_batch_sizes(
  split: datasets.Split,
  batch_size_l: int,
  batch_size_u: int,
  process_count: int = 1,
):
  """Raises ValueError if `split` cannot fill the batches of one step."""
  if batch_size_l < 1 or batch_size_u < 0:
    raise ValueError(
      f"batch sizes must be positive: {batch_size_l} labelled, "
      f"{batch_size_u} unlabelled (0 for none)"
    )
  for kind, batch_size, records in (
    ("labelled", batch_size_l, split.labeled),
    ("unlabelled", batch_size_u, split.unlabeled),
  ):
    if batch_size > len(records):
      raise ValueError(
        f"split {split.name!r} has {len(records)} {kind} images, fewer than "
        f"the {batch_size} of one batch"
      )
    _check_divides(f"the {kind} batch", batch_size, process_count)


def _check_divides(what: str, batch_size: int, process_count: int):
  if batch_size % process_count:
    raise ValueError(
      f"{what} of {batch_size} images does not divide among "
      f"{process_count} processes"
    )


def _check_augmentation(
  scale_range: tuple[float, float],
  flip_prob: float,
  seed: int,
  start_step: int,
):
  low, high = scale_range
  if not 0 < low <= 1 <= high:
    raise ValueError(
      f"scale_range must hold 1 and be above 0, not {low} to {high}"
    )
  if not 0 <= flip_prob <= 1:
    raise ValueError(f"flip_prob must be within [0, 1], not {flip_prob}")
  if seed < 0 or start_step < 0:
    raise ValueError(
      f"seed {seed} and start_step {start_step} must not be negative"
    )


def _hide_gpus():
  """Or else TensorFlow takes memory on the devices that JAX uses."""
  if tf.config.get_visible_devices("GPU"):
    tf.config.set_visible_devices([], "GPU")


def _count_cpus() -> int:
  """Returns the CPUs this process may use; macOS only knows the machine's."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _process_rows(
  batch_size: int, process_index: int, process_count: int
) -> np.ndarray:
  """Returns which rows of a global batch this process makes."""
  rows = np.arange(batch_size, dtype=np.int64)
  return np.split(rows, process_count)[process_index]


def _record_reader(
  files: tuple[str, ...],
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function that reads serialized records by their indices [B]."""
  source = array_record_data_source.ArrayRecordDataSource(list(files))

  def read(records: np.ndarray) -> np.ndarray:
    return np.array([source[int(i)] for i in records], object)

  return read


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
  return _read_steps(steps, read_batch, tf.float64, shape)


def _read_steps(
  steps: range,
  read_batch: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
  dtype: tf.DType,
  shape: tuple[int, ...],
) -> tf.data.Dataset:
  """Returns the examples that `read_batch` reads at `steps`, one by one.

  Args:
    steps: the steps to read, in this order.
    read_batch: maps a step to records [B] and a companion of each.
    dtype: type of the companions.
    shape: shape of a batch of companions, [B, ...].
  """

  def read_step(step):
    records, companions = tf.numpy_function(
      read_batch, [step], (tf.string, dtype), stateful=False
    )
    return (
      tf.ensure_shape(records, shape[:1]),
      tf.ensure_shape(companions, shape),
    )

  return tf.data.Dataset.range(steps.start, steps.stop).map(read_step).unbatch()


def _crop_randomly(
  draws: np.ndarray,
  image: np.ndarray,
  label: np.ndarray | None = None,
  *,
  crop_size: tuple[int, int],
  scale_range: tuple[float, float],
  flip_prob: float,
  pad_label: int,
) -> list[np.ndarray]:
  """Returns a random crop of an image and of its mask, where there is one."""
  window = preprocess.random_window(
    image.shape[:2],
    draws,
    crop_size=crop_size,
    scale_range=scale_range,
    flip_prob=flip_prob,
  )
  image = preprocess.resize_image(image, window)
  crops = [preprocess.pad_to_crop(image, crop_size, preprocess.MEAN_COLOR)]
  if label is not None:
    label = preprocess.resize_label(label, window)
    crops.append(preprocess.pad_to_crop(label, crop_size, pad_label))
  return crops


def _crop_center(
  image: np.ndarray, label: np.ndarray, crop_size: tuple[int, int]
) -> list[np.ndarray]:
  image = preprocess.center_crop(image, crop_size)
  label = preprocess.center_crop(label, crop_size)
  return [
    preprocess.pad_to_crop(image, crop_size, preprocess.MEAN_COLOR),
    preprocess.pad_to_crop(label, crop_size, u2pl_jax.IGNORE_LABEL),
  ]


def _map_crops(
  make_crops: Callable[..., list[np.ndarray]],
  inputs: Sequence[tf.Tensor],
  crop_size: tuple[int, int],
  *,
  with_label: bool = True,
) -> list[tf.Tensor]:
  """Calls numpy code that returns a crop of an image and perhaps its mask."""
  shapes = [(*crop_size, 3), crop_size] if with_label else [(*crop_size, 3)]
  crops = tf.numpy_function(
    make_crops, inputs, [tf.uint8] * len(shapes), stateful=False
  )
  return list(map(tf.ensure_shape, crops, shapes))


def _merge(*parts: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  return {name: value for part in parts for name, value in part.items()}


def _options(num_workers: int) -> tf.data.Options:
  options = tf.data.Options()
  options.deterministic = True
  options.autotune.enabled = False
  options.threading.private_threadpool_size = num_workers
  options.threading.max_intra_op_parallelism = 1
  return options
