"""What both pipelines share: records, threads, parts of batches."""

import os
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import tensorflow as tf
from array_record.python import array_record_data_source


def check_divides(what: str, batch_size: int, process_count: int):
  """Raises ValueError unless each process gets as many images of a batch."""
  if batch_size % process_count:
    raise ValueError(
      f"{what} of {batch_size} images does not divide among "
      f"{process_count} processes"
    )


def hide_gpus():
  """Or else TensorFlow takes memory on the devices that JAX uses."""
  if tf.config.get_visible_devices("GPU"):
    tf.config.set_visible_devices([], "GPU")


def count_cpus() -> int:
  """Returns the CPUs this process may use; macOS only knows the machine's."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def process_rows(
  batch_size: int, process_index: int, process_count: int
) -> np.ndarray:
  """Returns which rows of a global batch this process makes."""
  rows = np.arange(batch_size, dtype=np.int64)
  return np.split(rows, process_count)[process_index]


def record_reader(
  files: tuple[str, ...],
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function that reads serialized records by their indices [B]."""
  source = array_record_data_source.ArrayRecordDataSource(list(files))

  def read(records: np.ndarray) -> np.ndarray:
    return np.array([source[int(i)] for i in records], object)

  return read


def read_steps(
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


def map_crops(
  make_crops: Callable[..., list[np.ndarray]],
  inputs: Sequence[tf.Tensor],
  crop_size: tuple[int | None, int | None],
  *,
  num_maps: int = 1,
) -> list[tf.Tensor]:
  """Calls numpy code that returns a crop of an image and maps of its pixels."""
  shapes = [(*crop_size, 3)] + [crop_size] * num_maps
  crops = tf.numpy_function(
    make_crops, inputs, [tf.uint8] * len(shapes), stateful=False
  )
  # Outside of a graph a single array comes without a list.
  return list(map(tf.ensure_shape, tf.nest.flatten(crops), shapes))


def make_options(num_workers: int) -> tf.data.Options:
  """Same order always, and so many threads, each of which does one example.

  OpenCV, whose threads are one setting of the process, gets none of its own.
  """
  cv2.setNumThreads(1)
  options = tf.data.Options()
  options.deterministic = True
  options.autotune.enabled = False
  options.threading.private_threadpool_size = num_workers
  options.threading.max_intra_op_parallelism = 1
  return options
