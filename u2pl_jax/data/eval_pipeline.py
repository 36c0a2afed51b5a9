"""Evaluation batches: center crops, or whole images in a few shapes."""

from collections.abc import Callable, Collection, Iterator

import numpy as np
import tensorflow as tf

import u2pl_jax
from u2pl_jax.data import datasets, preprocess, reading, shapes
from u2pl_jax.ops import crop, normalize

Batch = dict[str, np.ndarray]


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
  batch_size: int,
  crop_size: tuple[int, int] | None,
  max_shapes: int = 8,
  may_pad: bool = True,
  records: Collection[int] | None = None,
  process_index: int = 0,
  process_count: int = 1,
  num_workers: int | None = None,
) -> EvalBatches:
  """Makes batches of whole images or center crops, each in exactly one.

  Smaller images are padded, all round, with the mean color and label 255.

  Args:
    dataset: where the images are.
    batch_size: images a step, over all processes.
    crop_size: (height, width) of the crops; None for whole images.
    max_shapes: how many shapes whole images may be padded to; see `shapes`.
    may_pad: whether whole images may have a shape larger than their size.
    records: only batches that hold any of these images are made, each the same
      as among all; None for all.
    process_index: which part of each batch to make.
    process_count: number of processes that share a batch.
    num_workers: threads to decode with; default: one a CPU.

  Returns:
    A re-iterable of dicts, B counting this process's part: image uint8
    [B, H, W, 3] RGB, label uint8 [B, H, W], mask bool [B], record int64 [B],
    the image's position in `dataset.ids`, and size int32 [B, 2], its own height
    and width. Where mask is False, the image fills up a batch: its label is 255
    everywhere, and its record -1.

  Raises:
    ValueError: the batch does not divide by process_count, max_shapes is below
      1, or there are more sizes than that and images may not be padded.
  """
  reading.check_divides("batch_size", batch_size, process_count)
  reading.hide_gpus()
  num_workers = num_workers or reading.count_cpus()
  read = reading.record_reader(dataset.files["val"])
  image_shapes = [crop_size] * len(dataset.ids["val"])
  if crop_size is None:
    image_shapes = _choose_shapes(read, len(image_shapes), max_shapes, may_pad)
  plan = shapes.plan_batches(image_shapes, batch_size, records)
  rows = reading.process_rows(batch_size, process_index, process_count)
  read_batch = _batch_reader(read, plan, rows)
  steps = range(len(plan.shapes))
  examples = reading.read_steps(steps, read_batch, tf.int64, (len(rows), 3))
  examples = examples.map(_make_example, num_parallel_calls=num_workers)
  batches = examples.batch(len(rows), drop_remainder=True).prefetch(2)
  batches = batches.apply(tf.data.experimental.assert_cardinality(len(steps)))
  return EvalBatches(batches.with_options(reading.make_options(num_workers)))


def _batch_reader(
  read: Callable[[np.ndarray], np.ndarray], plan: shapes.Plan, rows: np.ndarray
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
  """A function of a step: stored examples [B]; int64 [B, 3] record and shape.

  Args:
    read: reads examples by their records.
    plan: of the batches.
    rows: of each batch, those of this process.
  """

  def read_batch(step):
    records = plan.images[step]
    # A batch is filled up with its first image, masked.
    serialized = read(np.where(records < 0, records[0], records)[rows])
    shape = np.tile(np.int64(plan.shapes[step]), (len(rows), 1))
    return serialized, np.column_stack([records[rows], shape])

  return read_batch


def _make_example(
  serialized: tf.Tensor, record_and_shape: tf.Tensor
) -> dict[str, tf.Tensor]:
  """One row of a batch, of a stored example.

  Args:
    serialized: scalar string.
    record_and_shape: int64 [3]; the record is -1 where it fills up a batch.
  """
  record, shape = record_and_shape[0], record_and_shape[1:]
  pixels = preprocess.decode_example(serialized, with_label=True)
  image, label = reading.map_crops(_crop_center, [*pixels, shape], (None, None))
  mask = record >= 0
  label = tf.where(mask, label, tf.cast(u2pl_jax.IGNORE_LABEL, tf.uint8))
  return {
    "image": image,
    "label": label,
    "mask": mask,
    "record": record,
    "size": tf.shape(pixels[0])[:2],
  }


def _choose_shapes(
  read: Callable[[np.ndarray], np.ndarray],
  num_images: int,
  max_shapes: int,
  may_pad: bool,
) -> list[shapes.Size]:
  """The shape of each image; reads all their sizes."""
  sizes = preprocess.read_sizes(read, range(num_images))
  shape_of = shapes.choose_shapes(sizes, max_shapes)
  if not may_pad and any(size != shape for size, shape in shape_of.items()):
    raise ValueError(
      f"eval.base_size: images have {len(shape_of)} sizes, and padding would"
      f" change their scale; set eval.max_shapes={len(shape_of)}, or"
      " eval.base_size=0"
    )
  return [shape_of[size] for size in sizes]


def _crop_center(
  image: np.ndarray, label: np.ndarray, shape: np.ndarray
) -> list[np.ndarray]:
  """Cuts away, or pads, what an image has more or less than `shape`, [2]."""
  shape = tuple(shape.tolist())
  image = crop.center_crop(image, shape)
  label = crop.center_crop(label, shape)
  return [
    preprocess.pad_to_crop(image, shape, normalize.MEAN_COLOR),
    preprocess.pad_to_crop(label, shape, u2pl_jax.IGNORE_LABEL),
  ]
