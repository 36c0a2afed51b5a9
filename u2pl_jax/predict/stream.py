"""From image files to masks, as a stream: read, network, write.

Threads read ahead and write behind while the network runs, and only so many
images are held at any time. Sizes are known from the headers before the first
image is read; images are padded to few shapes, and the next shape's program is
compiled while the network runs on the one before.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from typing import Any, TypeVar

import jax
import numpy as np

from u2pl_jax.data import image_files
from u2pl_jax.evaluation import outputs
from u2pl_jax.ops import crop, normalize
from u2pl_jax.predict import batch_plan, large, photographs, trained
from u2pl_jax.predict import results as results_lib
from u2pl_jax.runtime import sharding

_MAX_THREADS = 8

Failure = image_files.UnreadableError | None  # None: the image is done.
# Of uint8 images [B, H, W, 3].
Program = Callable[[np.ndarray], results_lib.Bytes]
In, Out = TypeVar("In"), TypeVar("Out")


@dataclasses.dataclass(frozen=True)
class Loaded:
  """A batch with its pixels.

  Attributes:
    plan: what it was to hold.
    pixels: uint8 [B, H, W, 3], each image in the center.
    failures: why each image of the plan could not be read, or None.
  """

  plan: batch_plan.Batch
  pixels: np.ndarray
  failures: list[Failure]


def run(
  network: trained.Trained,
  images: Sequence[photographs.Photograph],
  out: pathlib.Path,
  settings: batch_plan.Settings,
  *,
  done: Collection[photographs.Photograph] = (),
  watch: large.Watch = lambda _: lambda _: None,
) -> Iterator[Failure]:
  """Predicts images and writes OUT/KIND/NAME.png or .jpg of each.

  Args:
    network: the trained network.
    images: their names are those of the results.
    out: the folder of the results; made as needed.
    settings: how to predict.
    done: those of the images whose results are there already; they are not
      read, but the others are padded as if they were.
    watch: told of each image above the limit before it is read.

  Yields:
    For each image that was not done, in any order, once it is: why it could not
    be read, or None.

  Raises:
    OSError: a result cannot be written.
  """
  mesh = sharding.create_mesh()
  predict = _make_predict(network, settings)
  variables = jax.device_put(network.variables, sharding.replicate(mesh))
  compile_for = functools.partial(_compile, predict, variables, mesh)
  write = functools.partial(_write_batch, out, network.palette)
  threads = count_threads()
  with open_pool(threads) as pool, open_pool(1) as compiler:
    sized = yield from _read_sizes(pool, images, settings, done)
    ordinary, others = _split(sized, settings)
    batches = batch_plan.plan_batches(ordinary, settings, mesh.size, done)
    in_order = dict.fromkeys(batch.shape for batch in batches)
    programs = ahead(compiler, compile_for, in_order, 1)
    load = functools.partial(_load_batch, settings=settings)
    loaded = ahead(pool, load, batches, threads)
    predicted = _apply(programs, loaded)
    for failures in ahead(pool, write, predicted, threads):
      yield from failures
  others = [pair for pair in others if pair[0] not in done]
  yield from large.run(network, variables, mesh, others, out, settings, watch)


def _split(
  sized: Sequence[large.Sized], settings: batch_plan.Settings
) -> tuple[list[large.Sized], list[large.Sized]]:
  """The images within the limit, and those above."""
  parts = [], []
  for image, size in sized:
    parts[batch_plan.is_large(size, settings)].append((image, size))
  return parts


def _make_predict(
  network: trained.Trained, settings: batch_plan.Settings
) -> Callable[[Mapping[str, Any], jax.Array], dict[str, jax.Array]]:
  """predict(variables, images) -> the results as they are written.

  Returns:
    A jitted function of variables and uint8 images [B, H, W, 3] that returns
    uint8 [B, H, W] by kind; see `results.make_compute`.
  """
  logits_of = outputs.make_predict(
    network.model, settings.protocol, ("logits",)
  )
  compute = results_lib.make_compute(
    settings.maps, network.num_classes, settings.rule
  )
  return jax.jit(
    lambda variables, images: compute(logits_of(variables, images)["logits"])
  )


def _read_sizes(
  pool: concurrent.futures.Executor,
  images: Sequence[photographs.Photograph],
  settings: batch_plan.Settings,
  done: Collection[photographs.Photograph],
) -> Iterator[Failure]:
  """Yields the failures; returns the other images with their sizes."""
  sized = []
  check = functools.partial(_try_size, settings=settings)
  for image, size in zip(images, pool.map(check, images), strict=True):
    if not isinstance(size, image_files.UnreadableError):
      sized.append((image, size))
    elif image not in done:
      yield size
  return sized


def _try_size(image, settings):
  try:
    return batch_plan.check_size(image, settings)
  except image_files.UnreadableError as error:
    return error


def _load_batch(
  plan: batch_plan.Batch, settings: batch_plan.Settings
) -> Loaded:
  pixels = np.empty(plan.shape, np.uint8)
  pixels[:] = normalize.MEAN_COLOR
  failures = []
  # There may be more rows than images.
  for padded, image, size in zip(pixels, plan.images, plan.sizes):
    try:
      own = photographs.read(image.path, settings.value_range)
      if own.shape[:2] != size:
        raise image_files.UnreadableError(
          f"{image.path}: has changed meanwhile"
        )
      crop.center_crop(padded, size)[:] = own
      failures.append(None)
    except image_files.UnreadableError as error:
      failures.append(error)
  return Loaded(plan, pixels, failures)


def _compile(
  predict, variables, mesh: jax.sharding.Mesh, shape: Sequence[int]
) -> Program:
  """The network for images of one shape, [B, H, W, 3]."""
  images = jax.ShapeDtypeStruct(
    shape, np.uint8, sharding=sharding.split_batch(mesh)
  )
  compiled = predict.lower(variables, images).compile()

  def program(pixels):
    batch = sharding.to_global({"images": pixels}, mesh)
    return jax.device_get(compiled(variables, batch["images"]))

  return program


def _apply(
  programs: Iterator[Program], loaded: Iterable[Loaded]
) -> Iterator[tuple[Loaded, results_lib.Bytes]]:
  """Runs the network on batches, those of one shape in a row."""
  shape = None
  for batch in loaded:
    if batch.pixels.shape != shape:
      shape, program = batch.pixels.shape, next(programs)
    try:
      results = program(batch.pixels)
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      batch, results = _without_memory(batch), {}
    yield batch, results


def _without_memory(batch: Loaded) -> Loaded:
  failures = [
    image_files.UnreadableError(
      f"{image.path}: the device has too little memory; try --batch_size=1 or"
      " --scales=0.5"
    )
    for image in batch.plan.images
  ]
  return dataclasses.replace(batch, failures=failures)


def _write_batch(
  out: pathlib.Path,
  palette: Sequence[Sequence[int]],
  predicted: tuple[Loaded, results_lib.Bytes],
) -> list[Failure]:
  batch, results = predicted
  plan = batch.plan
  for index, (image, size) in enumerate(zip(plan.images, plan.sizes)):
    if batch.failures[index] is None:
      photograph = crop.center_crop(batch.pixels[index], size)
      own = {
        kind: crop.center_crop(result[index], size)
        for kind, result in results.items()
      }
      results_lib.write(out, image.name, photograph, own, palette)
  return batch.failures


def count_threads() -> int:
  """Threads that read and write images."""
  return min(_MAX_THREADS, os.cpu_count() or 1)


@contextlib.contextmanager
def open_pool(threads: int) -> Iterator[concurrent.futures.Executor]:
  """Threads; an error ends them without what they have not begun."""
  pool = concurrent.futures.ThreadPoolExecutor(threads)
  try:
    yield pool
  finally:
    pool.shutdown(cancel_futures=True)


def ahead(
  pool: concurrent.futures.Executor,
  function: Callable[[In], Out],
  items: Iterable[In],
  depth: int,
) -> Iterator[Out]:
  """function(item) of each, in order; `depth` more are begun meanwhile."""
  begun = collections.deque()
  for item in items:
    begun.append(pool.submit(function, item))
    if len(begun) > depth:
      yield begun.popleft().result()
  while begun:
    yield begun.popleft().result()
