"""What images have in common: pooled features of the encoder.

Every image is seen at one size, that of training's evaluation, and whole: so
images of all sizes can be compared, and one program does for them.
"""

import functools
import io
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from u2pl_jax.data import image_files
from u2pl_jax.models import forward
from u2pl_jax.predict import photographs, stream, trained
from u2pl_jax.runtime import sharding, workdir

FOLDER = "features"
_PIXELS_AT_ONCE = 2**19  # Per device.

Failure = image_files.UnreadableError | None


def find(out: pathlib.Path, name: str) -> list[pathlib.Path] | None:
  """The file that `run` has written of an image; None if there is none."""
  path = out / FOLDER / f"{name}.npy"
  return [path] if path.is_file() else None


def read(out: pathlib.Path, names: Iterable[str]) -> np.ndarray:
  """[n, C] float32, what `run` has written of images."""
  return np.stack([np.load(out / FOLDER / f"{name}.npy") for name in names])


def run(
  network: trained.Trained,
  images: Sequence[photographs.Photograph],
  out: pathlib.Path,
  value_range: tuple[int, int] | None = None,
) -> Iterator[Failure]:
  """Writes OUT/features/NAME.npy of each image, see `compute`.

  Args:
    network: the trained network.
    images: few of them are held at any time.
    out: the folder of the results; made as needed.
    value_range: see `photographs.read`.

  Yields:
    For each image, once it is done: why it could not be read, or None.

  Raises:
    OSError: a file cannot be written.
  """
  read_image = functools.partial(_try_read, value_range=value_range)
  for image, found in zip(
    images, compute(network, images, read_image), strict=True
  ):
    if isinstance(found, image_files.UnreadableError):
      yield found
      continue
    path, content = out / FOLDER / f"{image.name}.npy", io.BytesIO()
    np.save(content, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    workdir.write_bytes(path, content.getvalue())
    yield None


def _try_read(
  image: photographs.Photograph, value_range: tuple[int, int] | None
) -> np.ndarray | image_files.UnreadableError:
  try:
    return photographs.read(image.path, value_range)
  except image_files.UnreadableError as error:
    return error


def compute(
  network: trained.Trained,
  items: Sequence[Any],
  read_image: Callable[[Any], np.ndarray | image_files.UnreadableError],
) -> Iterator[np.ndarray | image_files.UnreadableError]:
  """The mean of an encoder's last feature over an image, divided by its length.

  Args:
    network: whose encoder it is.
    items: whatever images are read from.
    read_image: returns uint8 [H, W, 3] of an item, or why there is none; called
      by threads.

  Yields:
    For each item, in order, float32 [C] of length 1, or why there is none.
  """
  mesh = sharding.create_mesh()
  size = _choose_size(network)
  batch = max(_PIXELS_AT_ONCE // (size[0] * size[1]), 1) * mesh.size
  program = _make_program(network, mesh)

  def load(part):
    return [_shrink(read_image(item), size) for item in part]

  parts = [items[i : i + batch] for i in range(0, len(items), batch)]
  with stream.open_pool(stream.count_threads()) as pool:
    for loaded in stream.ahead(pool, load, parts, 2):
      pixels = np.zeros((batch, *size, 3), np.uint8)
      for row, image in zip(pixels, loaded):  # There may be more rows.
        if isinstance(image, np.ndarray):
          row[:] = image
      found = program(pixels)
      for image, vector in zip(loaded, found):
        yield vector if isinstance(image, np.ndarray) else image


def _choose_size(network: trained.Trained) -> tuple[int, int]:
  """(height, width) near the window that the encoder can take."""
  multiple = network.model.multiple
  return tuple(
    forward.nearest_multiple(side, multiple) for side in network.window
  )


def _shrink(
  image: np.ndarray | image_files.UnreadableError, size: tuple[int, int]
) -> np.ndarray | image_files.UnreadableError:
  if not isinstance(image, np.ndarray):
    return image
  return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def _make_program(
  network: trained.Trained, mesh: jax.sharding.Mesh
) -> Callable[[np.ndarray], np.ndarray]:
  """Of uint8 images [B, h, w, 3]: float32 [B, C]."""
  model = network.model
  variables = jax.device_put(network.variables, sharding.replicate(mesh))

  @jax.jit
  def pool(variables, images):
    features = model.apply(
      variables, model.normalize(images), train=False, method="encode"
    )
    means = features[-1].astype(jnp.float32).mean((1, 2))
    length = jnp.linalg.norm(means, axis=-1, keepdims=True)
    return means / jnp.maximum(length, jnp.finfo(jnp.float32).tiny)

  def program(pixels):
    images = sharding.to_global({"images": pixels}, mesh)["images"]
    return jax.device_get(pool(variables, images))

  return program
