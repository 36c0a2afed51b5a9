"""Which images are predicted, padded to which shapes, in which batches."""

import collections
import dataclasses
import functools
from collections.abc import Sequence

from u2pl_jax.data import image_files, shapes
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.predict import photographs

KINDS = ("masks", "colors", "overlays")
MAPS = ("probability", "entropy")

# One more program has to save so many padded pixels: about as many as a CPU
# core predicts in the time that it takes to compile one.
_PIXELS_PER_PROGRAM = 4_000_000
_MAX_PROGRAMS = 16
# Of an image in its shape, if so many programs are enough: the network sees the
# padding as well.
_MIN_SHARE = 0.25
_PIXELS_AT_ONCE = 2**19  # Per device; bounds the memory.
_MAX_SIDE = 65_500  # Of a JPEG file.


@dataclasses.dataclass(frozen=True)
class Settings:
  """How to predict.

  Attributes:
    protocol: sees whole images; their largest scale counts for the limits.
    maps: which of `MAPS` to write too.
    batch_size: images at once, rounded up to a multiple of the devices; None
      for as many as make half a million pixels a device.
    max_shapes: how many shapes images are padded to at most; None for as many
      as are quickest. With as many as there are sizes no image is padded.
    max_megapixels: larger images are not read.
  """

  protocol: protocol_lib.Protocol
  maps: tuple[str, ...] = ()
  batch_size: int | None = None
  max_shapes: int | None = None
  max_megapixels: float = 30.0


@dataclasses.dataclass(frozen=True)
class Batch:
  """Images that the network sees at once.

  Attributes:
    images: at most B.
    sizes: (height, width) of each.
    shape: (B, H, W, 3) that they are padded to.
  """

  images: tuple[photographs.Photograph, ...]
  sizes: tuple[shapes.Size, ...]
  shape: tuple[int, int, int, int]


def check_size(
  image: photographs.Photograph, settings: Settings
) -> shapes.Size:
  """The (height, width) of an image, of its header.

  Raises:
    UnreadableError: there is none, or it is too small or too large.
  """
  size = photographs.read_size(image.path)
  seen = [size, *settings.protocol.sizes(size)]
  height, width = max(seen, key=_area)
  problem = None
  if min(map(min, seen)) < 1:
    problem = "nothing is left of it at the smallest of --scales"
  elif height * width > settings.max_megapixels * 1e6:
    problem = (
      f"{width}x{height} pixels, above --max_megapixels="
      f"{settings.max_megapixels:g}; shrink it, or raise the limit if there is"
      " memory"
    )
  elif max(size) > _MAX_SIDE:
    problem = f"a side is longer than {_MAX_SIDE} pixels; cut it into parts"
  if problem is not None:
    raise image_files.UnreadableError(f"{image.path}: {problem}")
  return size


def plan_batches(
  sized: Sequence[tuple[photographs.Photograph, shapes.Size]],
  settings: Settings,
  num_devices: int,
) -> list[Batch]:
  """Puts images into batches, those of one shape in a row.

  The shape with the most pixels comes first, so that there is most time to
  compile for the others.

  Args:
    sized: images with their sizes.
    settings: how to predict.
    num_devices: B is a multiple of it.
  """
  groups = collections.defaultdict(list)
  shape_of = choose_shapes([size for _, size in sized], settings.max_shapes)
  for image, size in sized:
    groups[shape_of[size]].append((image, size))
  batches = []
  for shape in sorted(groups, key=lambda s: (-len(groups[s]) * _area(s), s)):
    group = groups[shape]
    rows = _count_rows(len(group), shape, settings, num_devices)
    for start in range(0, len(group), rows):
      images, sizes = zip(*group[start : start + rows], strict=True)
      batches.append(Batch(images, sizes, (rows, *shape, 3)))
  return batches


def _count_rows(
  num_images: int, shape: shapes.Size, settings: Settings, num_devices: int
) -> int:
  """Images at once; batches are as even as possible, to be filled up little."""
  seen = max(map(_area, [shape, *settings.protocol.sizes(shape)]))
  automatic = max(_PIXELS_AT_ONCE // seen, 1) * num_devices
  num_batches = -(-num_images // (settings.batch_size or automatic))
  rows = -(-num_images // num_batches)
  return -(-rows // num_devices) * num_devices


def choose_shapes(
  sizes: Sequence[shapes.Size], max_shapes: int | None = None
) -> dict[shapes.Size, shapes.Size]:
  """The shape that each size is padded to.

  Args:
    sizes: the sizes of all images.
    max_shapes: see `Settings`; None weighs padded pixels against programs.
  """
  if max_shapes is not None:
    return shapes.choose_shapes(sizes, max_shapes)
  candidates = []
  chosen = {size: size for size in sizes}
  for count in range(_MAX_PROGRAMS, 0, -1):
    fewer = shapes.choose_shapes([chosen[size] for size in sizes], count)
    chosen = {size: fewer[shape] for size, shape in chosen.items()}
    candidates.append(chosen)
  return min(candidates, key=functools.partial(_cost, sizes))


def _cost(
  sizes: Sequence[shapes.Size], chosen: dict[shapes.Size, shapes.Size]
) -> tuple[bool, int]:
  """Whether an image is mostly padding, and the pixels and programs."""
  share = min((_area(s) / _area(c) for s, c in chosen.items()), default=1)
  pixels = sum(_area(chosen[size]) for size in sizes)
  programs = len(set(chosen.values()))
  return share < _MIN_SHARE, pixels + programs * _PIXELS_PER_PROGRAM


def _area(size: shapes.Size) -> int:
  return size[0] * size[1]
