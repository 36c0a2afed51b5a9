"""One pass over the validation set: what networks make of each image."""

import dataclasses
import functools
import heapq
from collections.abc import (
  Callable,
  Collection,
  Iterator,
  Mapping,
  Sequence,
  Set,
)
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.data import datasets, eval_pipeline
from u2pl_jax.evaluation import metrics
from u2pl_jax.evaluation import outputs as outputs_lib
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.ops import crop
from u2pl_jax.predict import trained
from u2pl_jax.report import thresholds
from u2pl_jax.runtime import progress

SIDE = 256  # Longest side of what is kept of an image, in pixels.


@dataclasses.dataclass(frozen=True)
class View:
  """What one network makes of an image.

  Attributes:
    prediction: uint8 [h, w].
    entropy: float16 [h, w], nats.
    scores: the scores of the image at its own size.
  """

  prediction: np.ndarray
  entropy: np.ndarray
  scores: metrics.Scores


@dataclasses.dataclass(frozen=True)
class Example:
  """An image and what networks make of it.

  Attributes:
    name: its id in the dataset.
    record: its position in the dataset.
    image: uint8 [h, w, 3] RGB.
    label: uint8 [h, w]; 255 where nothing is said.
    views: one of each network.
  """

  name: str
  record: int
  image: np.ndarray
  label: np.ndarray
  views: tuple[View, ...]


@dataclasses.dataclass(frozen=True)
class Examples:
  """What a pass over the validation set leaves.

  Attributes:
    protocol: the name of the evaluation protocol.
    num_images: how many images were evaluated.
    worst: the images with the lowest mIoU under the first network, ascending,
      at most `SIDE` pixels high and wide; images without a labeled pixel come
      last.
    confusions: [K, K] int64 of each network, rows are labels.
    entropies: histogram over all pixels, of each network; see `thresholds`.
  """

  protocol: str
  num_images: int
  worst: tuple[Example, ...]
  confusions: tuple[np.ndarray, ...]
  entropies: tuple[np.ndarray, ...]


def evaluate(
  networks: Sequence[trained.Trained],
  dataset: datasets.Dataset,
  protocol: protocol_lib.Protocol,
  *,
  batch_size: int,
  max_images: int,
) -> Examples:
  """Evaluates networks side by side on the validation images.

  Args:
    networks: networks of the same classes.
    dataset: a dataset of these classes.
    protocol: what is seen of an image.
    batch_size: how many images the networks see at a time.
    max_images: how many of the worst to keep.
  """
  names, num_classes = dataset.ids["val"], dataset.num_classes
  confusions = np.zeros((len(networks), num_classes, num_classes), np.int64)
  entropies = np.zeros((len(networks), thresholds.NUM_BINS), np.int64)
  worst = []  # A heap with the best image on top.
  done = progress.Progress("evaluating", len(names))
  for sample in _predict(networks, dataset, protocol, batch_size):
    for index, output in enumerate(sample.outputs):
      confusions[index] += output.confusion
      entropies[index] += thresholds.count_entropies(
        output.entropy, num_classes
      )
    example = shrink(_make_example(names, sample), SIDE)
    badness = -np.nan_to_num(example.views[0].scores.miou, nan=np.inf)
    heapq.heappush(worst, (badness, -sample.record, example))
    if len(worst) > max_images:
      heapq.heappop(worst)
    done.advance()
  return Examples(
    protocol=protocol.name,
    num_images=len(names),
    worst=tuple(example for *_, example in sorted(worst, reverse=True)),
    confusions=tuple(confusions),
    entropies=tuple(entropies),
  )


@dataclasses.dataclass(frozen=True)
class Scored:
  """Scores of networks on the validation set, image by image.

  Attributes:
    protocol: the name of the evaluation protocol.
    mious: float64 [N, R], of each image and network, percent, over the classes
      that occur in label or prediction; NaN where an image has no label.
    confusions: [K, K] int64 of each network, rows are labels.
  """

  protocol: str
  mious: np.ndarray
  confusions: tuple[np.ndarray, ...]


def score(
  networks: Sequence[trained.Trained],
  dataset: datasets.Dataset,
  protocol: protocol_lib.Protocol,
  *,
  batch_size: int,
) -> Scored:
  """Scores networks on each validation image; see `evaluate`."""
  num_images, num_classes = len(dataset.ids["val"]), dataset.num_classes
  confusions = np.zeros((len(networks), num_classes, num_classes), np.int64)
  mious = np.full((num_images, len(networks)), np.nan)
  done = progress.Progress("evaluating", num_images)
  for sample in _predict(networks, dataset, protocol, batch_size):
    for index, output in enumerate(sample.outputs):
      confusions[index] += output.confusion
      scores = metrics.compute_scores(output.confusion)
      mious[sample.record, index] = scores.miou
    done.advance()
  return Scored(protocol.name, mious, tuple(confusions))


def show(
  networks: Sequence[trained.Trained],
  dataset: datasets.Dataset,
  protocol: protocol_lib.Protocol,
  records: Collection[int],
  *,
  batch_size: int,
) -> dict[int, Example]:
  """What networks make of some validation images, by record.

  Only the batches that hold these are decoded and predicted.

  Args:
    networks, dataset, protocol, batch_size: see `evaluate`.
    records: the positions of the images in the dataset.
  """
  names = dataset.ids["val"]
  samples = _predict(networks, dataset, protocol, batch_size, set(records))
  return {
    sample.record: shrink(_make_example(names, sample), SIDE)
    for sample in samples
  }


class _Output(NamedTuple):
  """Of one network on one image."""

  prediction: np.ndarray  # uint8 [H, W].
  entropy: np.ndarray  # float32 [H, W].
  confusion: np.ndarray  # int32 [K, K].


class _Sample(NamedTuple):
  """An image cut to what the protocol sees of it."""

  record: int
  image: np.ndarray  # uint8 [H, W, 3].
  label: np.ndarray  # uint8 [H, W].
  outputs: tuple[_Output, ...]


def _predict(
  networks: Sequence[trained.Trained],
  dataset: datasets.Dataset,
  protocol: protocol_lib.Protocol,
  batch_size: int,
  records: Set[int] | None = None,
) -> Iterator[_Sample]:
  """Goes through validation images, of which each is decoded once.

  Args:
    networks, dataset, protocol, batch_size: see `evaluate`.
    records: the images; None for all.
  """
  programs = [
    _make_program(network, protocol, dataset.num_classes)
    for network in networks
  ]
  for batch in eval_pipeline.make_eval_batches(
    dataset,
    batch_size=batch_size,
    crop_size=protocol.crop_size,
    records=records,
  ):
    rows = np.flatnonzero(batch["mask"])
    if records is not None:
      rows = [row for row in rows if int(batch["record"][row]) in records]
    outputs = [jax.device_get(program(batch)) for program in programs]
    for row in rows:
      cut = functools.partial(crop.center_crop, size=batch["size"][row])
      yield _Sample(
        int(batch["record"][row]),
        cut(batch["image"][row]),
        cut(batch["label"][row]),
        tuple(
          _Output(cut(predictions[row]), cut(entropy[row]), confusions[row])
          for predictions, entropy, confusions in outputs
        ),
      )


def _make_program(
  network: trained.Trained, protocol: protocol_lib.Protocol, num_classes: int
) -> Callable[[Mapping[str, np.ndarray]], tuple[jax.Array, ...]]:
  """program(batch) -> predictions, entropy and [B, K, K] confusions."""
  predict = outputs_lib.make_predict(
    network.model, protocol, ("labels", "entropy")
  )
  variables = jax.device_put(network.variables)

  @jax.jit
  def count(labels, predictions):
    return jax.vmap(metrics.confusion_matrix, (0, 0, None))(
      labels.astype(jnp.int32), predictions.astype(jnp.int32), num_classes
    )

  def program(batch):
    found = predict(variables, batch["image"])
    confusions = count(batch["label"], found["labels"])
    return found["labels"], found["entropy"], confusions

  return program


def _make_example(names: Sequence[str], sample: _Sample) -> Example:
  return Example(
    names[sample.record],
    sample.record,
    sample.image,
    sample.label,
    tuple(
      View(
        output.prediction,
        output.entropy.astype(np.float16),
        metrics.compute_scores(output.confusion),
      )
      for output in sample.outputs
    ),
  )


def small_size(size: Sequence[int], side: int) -> tuple[int, int]:
  """(height, width) in the same ratio, none of them above `side`."""
  ratio = min(1.0, side / max(size))
  height, width = (max(round(length * ratio), 1) for length in size)
  return height, width


def shrink_nearest(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H, W] to the values nearest to the middles of [height, width] cells."""
  rows, columns = (
    (2 * np.arange(short) + 1) * long // (2 * short)
    for short, long in zip(size, pixels.shape, strict=True)
  )
  return pixels[rows[:, None], columns]


def shrink(example: Example, side: int) -> Example:
  """The example with at most `side` rows and columns, its scores kept."""
  size = small_size(example.label.shape, side)
  return dataclasses.replace(
    example,
    image=cv2.resize(example.image, size[::-1], interpolation=cv2.INTER_AREA),
    label=shrink_nearest(example.label, size),
    views=tuple(
      dataclasses.replace(
        view,
        prediction=shrink_nearest(view.prediction, size),
        entropy=shrink_nearest(view.entropy, size),
      )
      for view in example.views
    ),
  )
