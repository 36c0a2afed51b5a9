"""What predictions say about images as a whole, read back from their files."""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.predict import stream


@dataclasses.dataclass(frozen=True)
class Finding:
  """What a network found in an image.

  Attributes:
    mean_entropy: of all its pixels, nats; as exact as the map of entropy is,
      which knows 256 steps.
    unreliable: share of its pixels that are 255 in the mask, in [0, 1].
    classes: ids of the classes of its other pixels, ascending.
  """

  mean_entropy: float
  unreliable: float
  classes: tuple[int, ...]


def read(
  out: pathlib.Path, names: Sequence[str], num_classes: int
) -> Iterator[Finding]:
  """Reads OUT/masks/NAME.png and OUT/entropy/NAME.png of each, in order.

  Args:
    out: the folder of the results.
    names: of the images.
    num_classes: K.

  Raises:
    OSError: a file is missing or damaged.
  """

  def read_one(name):
    mask, entropy = (
      _read_gray(out / kind / f"{name}.png") for kind in ("masks", "entropy")
    )
    counts = np.bincount(mask.ravel(), minlength=IGNORE_LABEL + 1)
    return Finding(
      mean_entropy=entropy.mean() / 255 * math.log(num_classes),
      unreliable=counts[IGNORE_LABEL] / mask.size,
      classes=tuple(np.flatnonzero(counts[:num_classes]).tolist()),
    )

  threads = stream.count_threads()
  with stream.open_pool(threads) as pool:
    yield from stream.ahead(pool, read_one, names, threads)


def _read_gray(path: pathlib.Path) -> np.ndarray:
  with Image.open(path) as image:
    return np.asarray(image)
