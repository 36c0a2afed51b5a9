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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from u2pl_jax.data import image_files
from u2pl_jax.evaluation import outputs, visualize
from u2pl_jax.ops import crop, normalize
from u2pl_jax.predict import batch_plan, photographs, trained
from u2pl_jax.runtime import sharding

_MAX_THREADS = 8

Failure = image_files.UnreadableError | None  # None: the image is done.
Results = Mapping[str, np.ndarray]  # uint8 [B, H, W] or [H, W] by kind.
Program = Callable[[np.ndarray], Results]  # Of uint8 images [B, H, W, 3].
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
) -> Iterator[Failure]:
  """Predicts images and writes OUT/KIND/NAME.png or .jpg of each.

  Args:
    network: the trained network.
    images: their names are those of the results.
    out: the folder of the results; made as needed.
    settings: how to predict.

  Yields:
    For each image, in any order, once it is done: why it could not be read, or
    None.

  Raises:
    OSError: a result cannot be written.
  """
  mesh = sharding.create_mesh()
  predict = _make_predict(network, settings)
  variables = jax.device_put(network.variables, sharding.replicate(mesh))
  compile_for = functools.partial(_compile, predict, variables, mesh)
  write = functools.partial(_write_batch, out, network.palette)
  threads = min(_MAX_THREADS, os.cpu_count() or 1)
  with _open_pool(threads) as pool, _open_pool(1) as compiler:
    sized = yield from _read_sizes(pool, images, settings)
    batches = batch_plan.plan_batches(sized, settings, mesh.size)
    in_order = dict.fromkeys(batch.shape for batch in batches)
    programs = _ahead(compiler, compile_for, in_order, 1)
    loaded = _ahead(pool, _load_batch, batches, threads)
    predicted = _apply(programs, loaded)
    for failures in _ahead(pool, write, predicted, threads):
      yield from failures


def _make_predict(
  network: trained.Trained, settings: batch_plan.Settings
) -> Callable[[Mapping[str, Any], jax.Array], dict[str, jax.Array]]:
  """predict(variables, images) -> the results as they are written.

  Returns:
    A jitted function of variables and uint8 images [B, H, W, 3] that returns a
    dict of uint8 [B, H, W]: masks, class ids; and what `settings.maps` names:
    probability, 255 times that of the class; entropy, 255 for log K.
  """
  compute = outputs.make_predict(
    network.model, settings.protocol, ("labels", *settings.maps)
  )
  highest = {"probability": 1.0, "entropy": np.log(network.num_classes)}

  def predict(variables, images):
    found = compute(variables, images)
    grays = {
      name: _to_gray(found[name] / highest[name]) for name in settings.maps
    }
    return {"masks": found["labels"]} | grays

  return jax.jit(predict)


def _to_gray(share: jax.Array) -> jax.Array:
  """[0, 1] to uint8; rounding may have left it a little above 1."""
  return jnp.round(jnp.clip(share, 0, 1) * 255).astype(jnp.uint8)


def _read_sizes(
  pool: concurrent.futures.Executor,
  images: Sequence[photographs.Photograph],
  settings: batch_plan.Settings,
) -> Iterator[Failure]:
  """Yields the failures; returns the other images with their sizes."""
  sized = []
  check = functools.partial(_try_size, settings=settings)
  for image, size in zip(images, pool.map(check, images), strict=True):
    if isinstance(size, image_files.UnreadableError):
      yield size
    else:
      sized.append((image, size))
  return sized


def _try_size(image, settings):
  try:
    return batch_plan.check_size(image, settings)
  except image_files.UnreadableError as error:
    return error


def _load_batch(plan: batch_plan.Batch) -> Loaded:
  pixels = np.empty(plan.shape, np.uint8)
  pixels[:] = normalize.MEAN_COLOR
  failures = []
  # There may be more rows than images.
  for padded, image, size in zip(pixels, plan.images, plan.sizes):
    try:
      own = photographs.read(image.path)
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
) -> Iterator[tuple[Loaded, Results]]:
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
  predicted: tuple[Loaded, Results],
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
      _write(out, image.name, _draw(photograph, own, palette))
  return batch.failures


def _draw(
  photograph: np.ndarray, results: Results, palette: Sequence[Sequence[int]]
) -> dict[str, Image.Image]:
  """The pictures of one image by kind."""
  masks = results["masks"]
  pictures = {kind: Image.fromarray(gray) for kind, gray in results.items()}
  pictures["colors"] = visualize.draw_classes(masks, palette)
  overlay = visualize.overlay(photograph, masks, palette)
  pictures["overlays"] = Image.fromarray(overlay)
  return pictures


def _write(
  out: pathlib.Path, name: str, pictures: Mapping[str, Image.Image]
) -> None:
  for kind, picture in pictures.items():
    ending = "jpg" if kind == "overlays" else "png"
    visualize.write_picture(out / kind / f"{name}.{ending}", picture)


@contextlib.contextmanager
def _open_pool(threads: int) -> Iterator[concurrent.futures.Executor]:
  """Threads; an error ends them without what they have not begun."""
  pool = concurrent.futures.ThreadPoolExecutor(threads)
  try:
    yield pool
  finally:
    pool.shutdown(cancel_futures=True)


def _ahead(
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
