"""Which images are predicted, padded to which shapes, in which batches."""

import collections
import dataclasses
import functools
import math
from collections.abc import Collection, Iterable, Sequence

from u2pl_jax.data import image_files, shapes
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.predict import photographs, reliability

# One more program has to save so many padded pixels: about as many as a CPU
# core predicts in the time that it takes to compile one.
_PIXELS_PER_PROGRAM = 4_000_000
_MAX_PROGRAMS = 16
# Of an image in its shape, if so many programs are enough: the network sees the
# padding as well.
_MIN_SHARE = 0.25
_PIXELS_AT_ONCE = 2**19  # Per device; bounds the memory.
# To resize a side, the network multiplies by a matrix of as many bytes as this
# squared.
_MAX_SIDE = 2**15


@dataclasses.dataclass(frozen=True)
class Settings:
  """How to predict.

  Attributes:
    protocol: what the network sees of an image; the largest scale counts for
      the limit.
    maps: which of `results.MAPS` to write too.
    batch_size: images or windows at once, rounded up to a multiple of the
      devices; None for as many as make half a million pixels a device.
    max_shapes: how many shapes images are padded to at most; None for as many
      as are quickest. With as many as there are sizes no image is padded.
    max_megapixels: larger images are seen in windows one after the other, if
      the protocol is "slide", else they are not read.
    value_range: the values of images of more than 8 bits that become black and
      white; None if unknown.
    rule: masks are 255 where it finds pixels unreliable; None for nowhere.
  """

  protocol: protocol_lib.Protocol
  maps: tuple[str, ...] = ()
  batch_size: int | None = None
  max_shapes: int | None = None
  max_megapixels: float = 30.0
  value_range: tuple[int, int] | None = None
  rule: reliability.Rule | None = None


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
  problem = None
  if min(map(min, settings.protocol.sizes(size))) < 1:
    problem = "nothing is left of it at the smallest of --scales"
  elif is_large(size, settings):
    problem = _refuse_large(size, settings)
  if problem is not None:
    raise image_files.UnreadableError(f"{image.path}: {problem}")
  return size


def is_large(size: shapes.Size, settings: Settings) -> bool:
  """Whether an image is above the limit, (height, width), at any scale.

  So is one of few pixels that is too long to be resized.
  """
  if _seen_area(size, settings) > settings.max_megapixels * 1e6:
    return True
  protocol = settings.protocol
  seen = protocol.sizes(size)
  is_resized = protocol.kind != "slide" or seen != [size]
  return is_resized and max(map(max, [size, *seen])) > _MAX_SIDE


def _refuse_large(size: shapes.Size, settings: Settings) -> str | None:
  """Why an image above the limit cannot be predicted; None if it can."""
  protocol = settings.protocol
  in_windows = protocol.kind == "slide"
  at_own_size = protocol.sizes(size) == [size]
  if in_windows and at_own_size:
    return None
  limit = settings.max_megapixels * 1e6
  if max(size) <= _MAX_SIDE and _area(size) <= limit:
    remedy = "leave out the larger --scales"
  else:
    ways = [] if in_windows else ["pass --protocol=slide"]
    ways += [] if at_own_size else ["leave out --scales"]
    remedy = f"{' and '.join(ways)} to have it seen in windows"
  height, width = max([size, *protocol.sizes(size)], key=_area)
  if _area((height, width)) <= limit and max(height, width) > _MAX_SIDE:
    return f"{width}x{height} pixels, a side above {_MAX_SIDE}; {remedy}"
  return (
    f"{width}x{height} pixels, above --max_megapixels="
    f"{settings.max_megapixels:g}; {remedy}, or raise the limit if there is"
    " memory"
  )


def count_windows(settings: Settings, num_devices: int) -> int:
  """Windows of a large image at once, a multiple of the devices."""
  automatic = max(_PIXELS_AT_ONCE // _area(settings.protocol.window), 1)
  wanted = settings.batch_size or automatic * num_devices
  return -(-wanted // num_devices) * num_devices


def plan_batches(
  sized: Sequence[tuple[photographs.Photograph, shapes.Size]],
  settings: Settings,
  num_devices: int,
  done: Collection[photographs.Photograph] = (),
) -> list[Batch]:
  """Puts images into batches, those of one shape in a row.

  The shape with the most pixels comes first, so that there is most time to
  compile for the others.

  Args:
    sized: images with their sizes.
    settings: how to predict.
    num_devices: B is a multiple of it.
    done: images that are in no batch. They count for the shapes all the same:
      the others are padded as if none were done, so that their results are the
      same too.
  """
  groups = collections.defaultdict(list)
  shape_of = _choose_small_shapes([size for _, size in sized], settings)
  for image, size in sized:
    groups[shape_of[size]].append((image, size))
  batches = []
  for shape in sorted(groups, key=lambda s: (-len(groups[s]) * _area(s), s)):
    group = groups[shape]
    rows = _count_rows(len(group), shape, settings, num_devices)
    group = [(image, size) for image, size in group if image not in done]
    for start in range(0, len(group), rows):
      images, sizes = zip(*group[start : start + rows], strict=True)
      batches.append(Batch(images, sizes, (rows, *shape, 3)))
  return batches


def _count_rows(
  num_images: int, shape: shapes.Size, settings: Settings, num_devices: int
) -> int:
  """Images at once; batches are as even as possible, to be filled up little."""
  seen = _seen_area(shape, settings)
  automatic = max(_PIXELS_AT_ONCE // seen, 1) * num_devices
  num_batches = -(-num_images // (settings.batch_size or automatic))
  rows = -(-num_images // num_batches)
  return -(-rows // num_devices) * num_devices


def _choose_small_shapes(
  sizes: Sequence[shapes.Size], settings: Settings
) -> dict[shapes.Size, shapes.Size]:
  """`choose_shapes`, but none is above the limit: wide beside high images."""
  chosen = choose_shapes(sizes, settings.max_shapes)
  return {
    size: size if is_large(shape, settings) else shape
    for size, shape in chosen.items()
  }


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


def _seen_area(size: shapes.Size, settings: Settings) -> int:
  """Pixels at the largest scale, or at the image's own if that is larger.

  Windows larger than the image count whole.
  """
  protocol = settings.protocol
  least = protocol.window if protocol.kind == "slide" else (0, 0)
  sizes = [size, *protocol.sizes(size)]
  return max(_area(map(max, zip(each, least))) for each in sizes)


def _area(size: Iterable[int]) -> int:
  return math.prod(size)
