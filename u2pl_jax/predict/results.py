"""What is written of an image: bytes of each pixel, pictures of them, files.

Files are encoded by many threads at once, and each is either absent or whole,
whenever the process ends; see `end_writing`.
"""

import contextlib
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from u2pl_jax.evaluation import outputs, visualize
from u2pl_jax.predict import reliability
from u2pl_jax.runtime import workdir

KINDS = ("masks", "colors", "overlays")
MAPS = ("probability", "entropy")
MAX_JPEG_SIDE = 65_500  # Pixels; files of the format hold no more.

Bytes = Mapping[str, np.ndarray]  # uint8 [B, H, W] or [H, W] by kind.


def make_compute(
  maps: Sequence[str],
  num_classes: int,
  rule: reliability.Rule | None = None,
) -> Callable[[jax.Array], dict[str, jax.Array]]:
  """compute(logits [..., K]) -> uint8 [...] by kind.

  masks are class ids; of `maps`, probability is 255 times that of the class,
  entropy 255 for log K.

  Args:
    maps: some of `MAPS`.
    num_classes: K.
    rule: of the pixels whose mask is 255, since they are unreliable; None for
      no such pixels.
  """
  highest = {"probability": 1.0, "entropy": np.log(num_classes)}

  def compute(logits):
    found = outputs.compute(logits, ("labels", *maps))
    grays = {name: _to_gray(found[name] / highest[name]) for name in maps}
    masks = found["labels"] if rule is None else reliability.label(logits, rule)
    return {"masks": masks} | grays

  return compute


def _to_gray(share: jax.Array) -> jax.Array:
  """[0, 1] to uint8; rounding may have left it a little above 1."""
  return jnp.round(jnp.clip(share, 0, 1) * 255).astype(jnp.uint8)


def write(
  out: pathlib.Path,
  name: str,
  photograph: np.ndarray,
  found: Bytes,
  palette: Sequence[Sequence[int]],
) -> None:
  """Writes all files of an image, one after the other.

  Args:
    out: the folder of the results; made as needed.
    name: of the image; its files are OUT/KIND/NAME.png, but for overlays .jpg,
      as far as their sides allow.
    photograph: uint8 [H, W, 3].
    found: uint8 [H, W] by kind, "masks" and maps.
    palette: [K] RGB.

  Raises:
    OSError: a file cannot be written; the message names it.
  """
  for kind, picture in _draw(photograph, found, palette):
    ending = _ending(kind, picture.size)
    encoded = visualize.encode_picture(picture, ending)
    path = out / kind / f"{name}{ending}"
    with _writing():
      path.parent.mkdir(parents=True, exist_ok=True)
      workdir.write_bytes(path, encoded)


def _draw(
  photograph: np.ndarray, found: Bytes, palette: Sequence[Sequence[int]]
) -> Iterator[tuple[str, Image.Image]]:
  """The pictures by kind; of large ones only one is in memory at a time."""
  for kind, gray in found.items():
    yield kind, Image.fromarray(gray)
  yield "colors", visualize.draw_classes(found["masks"], palette)
  overlay = visualize.draw_overlay(photograph, found["masks"], palette)
  yield "overlays", overlay


def _ending(kind: str, size: Sequence[int]) -> str:
  is_jpeg = kind == "overlays" and max(size) <= MAX_JPEG_SIDE
  return ".jpg" if is_jpeg else ".png"


def find(
  out: pathlib.Path, name: str, maps: Sequence[str]
) -> list[pathlib.Path] | None:
  """All files that `write` has written of an image; None if one is missing."""
  found = []
  for kind in (*KINDS, *maps):
    endings = (".jpg", ".png") if kind == "overlays" else (".png",)
    paths = [out / kind / f"{name}{ending}" for ending in endings]
    present = [path for path in paths if path.is_file()]
    if not present:
      return None
    found += present
  return found


class _Gate:
  """Lets many threads through, until it is shut."""

  def __init__(self):
    self._changed = threading.Condition()
    self._within = 0
    self._is_shut = False

  @contextlib.contextmanager
  def __call__(self):
    with self._changed:
      self._changed.wait_for(lambda: not self._is_shut)
      self._within += 1
    try:
      yield
    finally:
      with self._changed:
        self._within -= 1
        self._changed.notify_all()

  def shut(self, timeout: float):
    with self._changed:
      self._is_shut = True
      self._changed.wait_for(lambda: not self._within, timeout)


_writing = _Gate()


def end_writing(timeout: float = 5.0) -> None:
  """Before the process ends at once: no file is begun any more.

  Waits for those that are being written; their content is in memory, so that
  takes no longer than the disk does. Threads that would write wait for ever.

  Args:
    timeout: seconds after which it returns all the same.
  """
  _writing.shut(timeout)
