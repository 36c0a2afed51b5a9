"""Images that a method asks for while it trains.

They are read by threads of their own as soon as they are asked for, so that
nothing that is read ahead waits behind them.
"""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from u2pl_jax.data import crops, reading, streams

_Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Share:
  """This process's part of a stream.

  Attributes:
    stream: None for one that no batch holds.
    batch_size: images a step, of all processes.
    rows: int64 [B], which of them this process makes.
  """

  stream: streams.Stream | None
  batch_size: int
  rows: np.ndarray

  def positions(self, step: int) -> np.ndarray:
    """Positions in the stream, int64 [B], of a step's images."""
    return step * self.batch_size + self.rows


def take_share(
  kind: str,
  stream: streams.Stream | None,
  batch_size: int,
  process_index: int,
  process_count: int,
) -> Share:
  """The part of one process.

  Args:
    kind: "labeled" or "unlabeled", for the message.
    stream: of these images.
    batch_size: images a step, of all processes.
    process_index: which process it is.
    process_count: how many there are.

  Raises:
    ValueError: the batch does not divide among them.
  """
  reading.check_divides(f"the {kind} batch", batch_size, process_count)
  rows = reading.process_rows(batch_size, process_index, process_count)
  return Share(stream, batch_size, rows)


class Images:
  """This process's part of the images asked for, step by step."""

  def __init__(
    self,
    crop: crops.Crop,
    share: Share,
    read: Callable[[np.ndarray], np.ndarray],
    num_workers: int,
  ):
    """Starts the threads.

    Args:
      crop: how an image is cropped.
      share: of the unlabeled stream.
      read: serialized records by their indices.
      num_workers: threads.
    """
    self._crop = crop
    self._share = share
    self._read = read
    self._pool = concurrent.futures.ThreadPoolExecutor(
      num_workers, thread_name_prefix="requested images"
    )
    self._asked = {}

  def ask(self, step: int, requests: Mapping[str, np.ndarray]) -> None:
    """Has the images of a step read.

    Args:
      step: of the batch.
      requests: int32 [B_u] of the global batch, `position_u2` among them.
    """
    share = self._share
    mine = {name: numbers[share.rows] for name, numbers in requests.items()}
    draws = self._crop.draw(share.stream, share.positions(step))
    records = share.stream.records[mine["position_u2"]]
    images = [
      self._pool.submit(self._make, *image)
      for image in zip(records, draws, strict=True)
    ]
    self._asked[step] = mine, images

  def take(self, step: int) -> _Arrays:
    """The arrays of a step that was asked for, which are then forgotten."""
    numbers, images = self._asked.pop(step)
    made = [image.result() for image in images]
    arrays = {
      name: np.stack([image[name].numpy() for image in made])
      for name in self._crop.names
    }
    return arrays | numbers

  def _make(self, record: int, draws: np.ndarray) -> dict[str, Any]:
    (serialized,) = self._read(np.array([record]))
    return self._crop.make(serialized, draws)
