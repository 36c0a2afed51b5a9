"""Which image comes when, and with which random numbers: pure functions.

Everything about an image in a stream follows from (seed, stream, position);
nothing is carried from one position to the next.
"""

import dataclasses
import functools

import numpy as np

from u2pl_jax.data import datasets

_LABELED, _UNLABELED = 0, 1
_PERMUTATION = 0
# What random numbers of a position are for: an image itself, its second crop or
# second image, the choice of its partner, and the partner.
AUGMENTATION, SECOND, PARTNER_CHOICE, PARTNER = 1, 2, 3, 4


@dataclasses.dataclass(frozen=True)
class Stream:
  """An endless sequence of training images, epoch after epoch.

  Attributes:
    records: [n] int64, the images to draw from.
    epoch_length: how many of the n one epoch takes, without replacement.
    seed: the run's seed, not negative.
    key: tells the streams of a run apart.
    order: the key of the stream whose order it has; None for its own.
  """

  records: np.ndarray
  epoch_length: int
  seed: int
  key: int
  order: int | None = None

  def places_at(self, positions: np.ndarray) -> np.ndarray:
    """Returns where in the list the images of int64 positions [B] are, [B]."""
    epochs, places = np.divmod(positions, self.epoch_length)
    n = len(self.records)
    order = self.key if self.order is None else self.order
    shuffled = [
      _permutation(self.seed, order, int(epoch), n)[place]
      for epoch, place in zip(epochs, places)
    ]
    return np.array(shuffled, np.int64)

  def records_at(self, positions: np.ndarray) -> np.ndarray:
    """Returns the records [B] at the int64 positions [B]."""
    return self.records[self.places_at(positions)]

  def partners_at(
    self, positions: np.ndarray, probability: float
  ) -> np.ndarray:
    """Returns records [B] of the whole list, each as likely; -1 for none.

    Args:
      positions: int64 [B].
      probability: that there is one.
    """
    has, which = self.draws_at(positions, 2, PARTNER_CHOICE).T
    records = self.records[(which * len(self.records)).astype(np.int64)]
    return np.where(has < probability, records, -1)

  def draws_at(
    self, positions: np.ndarray, count: int, purpose: int = AUGMENTATION
  ) -> np.ndarray:
    """Returns `count` random numbers a position: [B, count] in [0, 1)."""
    draw = functools.partial(_random_bits, self.seed, self.key, purpose)
    bits = [draw(int(position), count) for position in positions]
    return (np.stack(bits) >> np.uint64(11)) * 2.0**-53


def labeled_stream(records: np.ndarray, seed: int) -> Stream:
  """Returns the stream of labeled images; an epoch takes all of them."""
  return Stream(records, len(records), seed, _LABELED)


def unlabeled_stream(
  records: np.ndarray, seed: int, epoch_length: int
) -> Stream:
  """Returns the stream of unlabeled images."""
  return Stream(records, epoch_length, seed, _UNLABELED)


def paired_stream(records: np.ndarray, unlabeled: Stream) -> Stream:
  """Returns the stream of labeled images in the order of the unlabeled ones.

  The unlabeled image j of its list always meets the labeled image j mod N_l.
  """
  partners = np.arange(len(unlabeled.records)) % len(records)
  return dataclasses.replace(
    unlabeled, records=records[partners], key=_LABELED, order=unlabeled.key
  )


def of_training(
  split: datasets.Split,
  batch_size_u: int,
  seed: int,
  *,
  pairing: str = "independent",
) -> tuple[Stream, Stream | None]:
  """Returns the labeled stream and, if batch_size_u > 0, the unlabeled one.

  An epoch of the latter takes as many whole batches as its list has, or its
  whole list where that does not fill one.

  Args:
    split: of the images.
    batch_size_u: unlabeled images a step.
    seed: of the run.
    pairing: see `options.DataOptions`.
  """
  if not batch_size_u:
    return labeled_stream(split.labeled, seed), None
  count = len(split.unlabeled)
  epoch_length = count // batch_size_u * batch_size_u or count
  unlabeled = unlabeled_stream(split.unlabeled, seed, epoch_length)
  if pairing == "fixed":
    return paired_stream(split.labeled, unlabeled), unlabeled
  return labeled_stream(split.labeled, seed), unlabeled


def ids_at_step(
  dataset: datasets.Dataset,
  split: datasets.Split,
  step: int,
  *,
  batch_size_l: int,
  batch_size_u: int,
  seed: int,
  pairing: str = "independent",
) -> dict[str, list[str]]:
  """Returns the ids of the images in the global batch of a step.

  Args:
    dataset: names the images.
    split: which of them are labeled and unlabeled.
    step: 0 for the first batch.
    batch_size_l: labeled images a step, over all processes.
    batch_size_u: unlabeled images a step, over all processes; 0 for none.
    seed: the seed of the run.
    pairing: see `options.DataOptions`.

  Returns:
    "labeled" and, if batch_size_u > 0, "unlabeled", in the batch's order.
  """

  def ids(stream, batch_size):
    positions = step * batch_size + np.arange(batch_size)
    return [dataset.ids["train"][i] for i in stream.records_at(positions)]

  labeled, unlabeled = of_training(split, batch_size_u, seed, pairing=pairing)
  found = {"labeled": ids(labeled, batch_size_l)}
  if unlabeled:
    found["unlabeled"] = ids(unlabeled, batch_size_u)
  return found


@functools.lru_cache(maxsize=8)
def _permutation(seed: int, key: int, epoch: int, n: int) -> np.ndarray:
  """Returns the order [n] in which `epoch` goes through its n images."""
  bits = _random_bits(seed, key, _PERMUTATION, epoch, n)
  return np.argsort(bits, kind="stable")


def _random_bits(
  seed: int, key: int, purpose: int, index: int, count: int
) -> np.ndarray:
  """Returns `count` random uint64, a function of the other arguments alone.

  Philox is counter-based: any place of its sequence is reached at once, and
  its bits, unlike numpy's distributions, are the same in every release.
  """
  generator = np.random.Philox(
    key=np.array([seed, 2 * purpose + key], np.uint64),
    counter=np.array([0, index, 0, 0], np.uint64),
  )
  return generator.random_raw(count)
