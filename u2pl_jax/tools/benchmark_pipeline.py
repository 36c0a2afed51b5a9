"""Speed, start and memory of the training input pipeline; see `benchmark`."""

import argparse
import contextlib
import functools
import importlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from array_record.python import array_record_data_source

from u2pl_jax.data import datasets, input_pipeline, options, supply
from u2pl_jax.tools import benchmark_worker

_SCALE_RANGE = (0.5, 2.0)
_FLIP_PROB = 0.5
_PEER_IMAGES = 200
_STARTS = 3  # Of which the median counts.
# Batches that are made before they are asked for; see input_pipeline.
_BATCHES_AHEAD = 4


def add_arguments(parser: argparse.ArgumentParser):
  """Adds what `run` takes."""
  parser.add_argument(
    "--dataset", required=True, help="name of a prepared dataset"
  )
  parser.add_argument(
    "--data_dir", required=True, help="folder that holds the dataset"
  )
  parser.add_argument("--crop_size", type=int, default=513)
  parser.add_argument("--batch_size", type=int, default=8)
  parser.add_argument("--num_workers", type=int, default=1)
  parser.add_argument(
    "--rounds",
    type=int,
    default=9,
    help="blocks of batches that each pipeline makes",
  )
  parser.add_argument(
    "--batches", type=int, default=12, help="batches in a block"
  )
  parser.add_argument(
    "--epochs",
    type=int,
    default=3,
    help="epochs after which the memory is measured",
  )
  parser.add_argument("--steps", type=int, nargs="*", default=(0, 10**3, 10**6))
  parser.add_argument("--seed", type=int, default=0)


def run(
  *,
  dataset: str,
  data_dir: str,
  crop_size: int,
  batch_size: int,
  num_workers: int,
  rounds: int,
  batches: int,
  epochs: int,
  steps: Sequence[int],
  peer: str,
  seed: int,
) -> dict[str, object]:
  """Measures batches of labeled images alone: random crops and their masks.

  With one worker all threads share one CPU, those of the peer as well.

  Args:
    dataset: name of a prepared dataset; all training images with masks count.
    data_dir: where it is.
    crop_size: height and width of the crops.
    batch_size: images a batch.
    num_workers: threads that decode and resample; the peer has one.
    rounds: how many blocks of batches to time of either pipeline.
    batches: how many batches to a block.
    epochs: passes over the images after each of which memory is read.
    steps: where to start for the time to the first batch.
    peer: "torch" or "none".
    seed: fixes the draws of both pipelines.

  Returns:
    first_batch_seconds by step; rss_mib, before and after each epoch; ours and
    peer: images_per_second and images_per_cpu_second, each with median, min,
    max over the blocks; ratio of the medians, ours by peer.

  Raises:
    FileNotFoundError: there is no such dataset.
    ImportError: the peer lacks PyTorch, or is not where this program runs.
    ValueError: an argument is out of range.
  """
  if min(crop_size, batch_size, num_workers, rounds, batches, epochs) < 1:
    raise ValueError("sizes and counts must be positive")
  opened = datasets.open_dataset(dataset, data_dir)
  labeled = np.flatnonzero(opened.has_label["train"])
  make_iterator, make_peer = _make_pipelines(
    opened, labeled, crop_size, batch_size, num_workers, peer, seed
  )
  epoch_steps = len(labeled) // batch_size
  with _on_one_cpu() if num_workers == 1 else contextlib.nullcontext():
    results = {
      "first_batch_seconds": _time_first_batches(make_iterator, steps),
      "rss_mib": _measure_memory(make_iterator(), epoch_steps, epochs),
    }
    pipelines = {"ours": make_iterator()}
    if make_peer is not None:
      pipelines["peer"] = make_peer()
    speeds = _measure_speeds(pipelines, rounds, batches, batch_size)
  return results | speeds | _compute_ratios(speeds)


def _make_pipelines(
  dataset: datasets.Dataset,
  labeled: np.ndarray,
  crop_size: int,
  batch_size: int,
  num_workers: int,
  peer: str,
  seed: int,
) -> tuple[Callable[..., Iterator], Callable[..., Iterator] | None]:
  """What begins ours and the peer's, None without one; see `run`."""
  augmentation = dict(
    crop_size=(crop_size, crop_size),
    scale_range=_SCALE_RANGE,
    flip_prob=_FLIP_PROB,
    seed=seed,
  )
  settings = options.DataOptions(
    batch_size_l=batch_size,
    crop_size=augmentation["crop_size"],
    scale_range=_SCALE_RANGE,
    flip_prob=_FLIP_PROB,
    num_workers=num_workers,
  )
  ours = functools.partial(
    input_pipeline.make_train_iterator,
    dataset,
    datasets.Split("all", labeled, labeled[:0]),
    settings,
    supply=supply.Supply(),
    seed=seed,
  )
  if peer == "none":
    return ours, None
  return ours, functools.partial(
    _import_peer().make_batches,
    _read_examples(dataset, labeled[:_PEER_IMAGES]),
    batch_size=batch_size,
    **augmentation,
  )


@contextlib.contextmanager
def _on_one_cpu():
  """Binds the calling thread, and those it starts, to one CPU, if possible."""
  if not hasattr(os, "sched_setaffinity"):
    yield
    return
  cpus = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {max(cpus)})
  try:
    yield
  finally:
    os.sched_setaffinity(0, cpus)


def _time_first_batches(
  make_iterator: Callable[..., Iterator], steps: Sequence[int]
) -> dict[str, float]:
  """Returns the median seconds from nothing to the first batch, by step."""
  next(make_iterator())  # The first ever includes TensorFlow's own start.
  seconds = {step: [] for step in steps}
  for step in (*steps,) * _STARTS:
    benchmark_worker.wait_until_idle()
    start = time.perf_counter()
    next(make_iterator(start_step=step))
    seconds[step].append(time.perf_counter() - start)
  return {str(step): statistics.median(s) for step, s in seconds.items()}


def _measure_memory(
  iterator: Iterator, epoch_steps: int, epochs: int
) -> list[float]:
  """Returns the resident MiB after the first batch and after each epoch."""
  next(iterator)
  sizes = [benchmark_worker.resident_mib()]
  for _ in range(epochs):
    for _ in range(epoch_steps):
      next(iterator)
    sizes.append(benchmark_worker.resident_mib())
  return sizes


def _read_examples(
  dataset: datasets.Dataset, records: np.ndarray
) -> list[tuple[bytes, bytes]]:
  """Returns encoded images and masks; the peer reads them from memory."""
  files = list(dataset.files["train"])
  source = array_record_data_source.ArrayRecordDataSource(files)
  examples = []
  for record in records:
    feature = tf.train.Example.FromString(source[int(record)]).features.feature
    image, label = (feature[k].bytes_list.value[0] for k in ("image", "label"))
    examples.append((image, label))
  return examples


def _import_peer():
  try:
    return importlib.import_module("benchmarks.peers.torch_pipeline")
  except ImportError as error:
    raise ImportError(
      f"the peer cannot be imported ({error}): install torch and run in a "
      "checkout of the repository, or leave --peer out"
    ) from error


def _measure_speeds(
  pipelines: dict[str, Iterator], rounds: int, batches: int, batch_size: int
) -> dict[str, dict[str, dict[str, float]]]:
  """Times blocks of batches of all pipelines in turn."""
  kinds = ("images_per_second", "images_per_cpu_second")
  speeds = {name: {kind: [] for kind in kinds} for name in pipelines}
  for _ in range(rounds):
    for name, iterator in pipelines.items():
      # What lies ready was made in others' time, and is made again after.
      for _ in range(_BATCHES_AHEAD):
        next(iterator)
      wall, cpu = time.perf_counter(), time.process_time()
      for _ in range(batches):
        next(iterator)
      seconds = time.perf_counter() - wall, time.process_time() - cpu
      for kind, spent in zip(kinds, seconds):
        speeds[name][kind].append(batches * batch_size / spent)
      benchmark_worker.wait_until_idle()
  return {
    name: {kind: summarize(values) for kind, values in by_kind.items()}
    for name, by_kind in speeds.items()
  }


def summarize(values: list[float]) -> dict[str, float]:
  """Returns median, min and max of some measurements."""
  return {
    "median": statistics.median(values),
    "min": min(values),
    "max": max(values),
  }


def _compute_ratios(speeds) -> dict[str, dict[str, float]]:
  if "peer" not in speeds:
    return {}
  ours, peer = speeds["ours"], speeds["peer"]
  return {"ratio": {k: ours[k]["median"] / peer[k]["median"] for k in ours}}
