"""How many pixels of each class a list of images shows."""

import concurrent.futures

import numpy as np

from u2pl_jax.data import datasets, preprocess, reading


def count_pixels(dataset: datasets.Dataset, records: np.ndarray) -> np.ndarray:
  """Pixels of each class in the masks of training images, at their own size.

  Args:
    dataset: where the images are.
    records: [n] int64, of the TFDS split `train`.

  Returns:
    [K] int64; pixels without a label are counted nowhere.
  """
  read = reading.record_reader(dataset.files["train"])

  def count(record: int) -> np.ndarray:
    (serialized,) = read(np.array([record]))
    labels = preprocess.decode_label(serialized).numpy()
    return np.bincount(labels.reshape(-1), minlength=256)

  with concurrent.futures.ThreadPoolExecutor(reading.count_cpus()) as pool:
    total = sum(pool.map(count, records), np.zeros(256, np.int64))
  return total[: dataset.num_classes]
