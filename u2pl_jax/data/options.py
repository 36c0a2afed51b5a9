"""Settings of the data that a run trains on."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from u2pl_jax.data import supply as supply_lib
from u2pl_jax.runtime import options

# Sides smaller than this leave nothing of an image at the encoder's stride.
MIN_SIDE = 16
BATCH_SIZES = ("given", "auto", "parts")
PAIRINGS = ("independent", "fixed")
RESIZINGS = ("factor", "long_side")
PADDINGS = ("center", "corner")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(options.Options):
  """Which images, how many a step, and how they are cropped."""

  SECTION: ClassVar[str] = "data"

  # Dataset under data_dir, made by data_prep.
  name: str = ""
  # Its list of labeled and unlabeled images.
  split: str = ""
  # Folder of prepared datasets.
  data_dir: str = "data"
  # Who says how many images a step has: "given", the next two keys; "auto", the
  # memory of the devices, of which main.py has the largest batch that fits;
  # "parts", the next two keys, but what does not fit at once is computed in
  # parts, see tools/batch_sizes.py.
  batch_size: str = options.setting("given", choices=BATCH_SIZES)
  # Labeled images a step, all devices. A list with fewer is repeated.
  batch_size_l: int = options.setting(16, minimum=1)
  # The same of unlabeled images.
  batch_size_u: int = options.setting(16, minimum=1)
  # Height, width.
  crop_size: tuple[int, int] = options.setting(
    (513, 513), length=2, minimum=MIN_SIDE
  )
  # "independent": both lists are shuffled by themselves. "fixed": the unlabeled
  # image j always comes with the labeled image j mod N_l, of N_l, as where one
  # shuffled order is used for both lists, the labeled one repeated.
  pairing: str = options.setting("independent", choices=PAIRINGS)
  # "factor": images are resized by a factor, without antialiasing; half of the
  # draws lie on either side of 1. "long_side": so that the long side is any
  # number of pixels in the range, with antialiasing, as Pillow does it.
  resizing: str = options.setting("factor", choices=RESIZINGS)
  # Of the size of an image.
  scale_range: tuple[float, float] = options.setting((0.5, 2.0), length=2)
  # That an image is mirrored.
  flip_prob: float = options.setting(0.5, minimum=0, maximum=1)
  # Of images smaller than the crop: on all sides with the mean color, or on the
  # right and below with black, before the crop is mirrored.
  padding: str = options.setting("center", choices=PADDINGS)
  # Label of the padding.
  pad_label: int = options.setting(255, minimum=0, maximum=255)
  # Whether batches also hold the true masks of unlabeled images, where there
  # are some. Nothing is trained on them: curves tell how right pseudo-labels
  # are. Reading them takes time, and few datasets but benchmarks have them.
  unlabeled_masks: bool = False
  # Reading threads; 0 for one a core.
  num_workers: int = options.setting(0, minimum=0)

  def check(self):
    low, high = self.scale_range
    if not 0 < low <= 1 <= high:
      raise ValueError(f"data.scale_range={low, high}: must hold 1, and be > 0")
    if self.pairing == "fixed" and self.batch_size_l != self.batch_size_u:
      raise ValueError(
        "data.pairing=fixed: needs as many labeled as unlabeled images a step;"
        f" data.batch_size_l={self.batch_size_l} and"
        f" data.batch_size_u={self.batch_size_u}"
      )

  def batch_shapes(
    self, supply: supply_lib.Supply
  ) -> dict[str, jax.ShapeDtypeStruct]:
    """Name -> shape and dtype of the arrays of a global batch.

    Pipeline, training step and dry run all go by it.

    Args:
      supply: of the run.
    """
    sizes = {"l": self.batch_size_l, "u": self.batch_size_u}
    labeled = ("l",) + ("p",) * (supply.partner is not None)
    shapes = {}
    for suffix in (*labeled, *supply.suffixes):
      size = sizes["u" if suffix in supply.suffixes else "l"]
      shapes[f"image_{suffix}"] = (size, *self.crop_size, 3)
      if suffix in labeled or self.unlabeled_masks:
        shapes[f"label_{suffix}"] = (size, *self.crop_size)
      if suffix in supply.suffixes and supply.padding:
        shapes[f"padding_{suffix}"] = (size, *self.crop_size)
    arrays = {
      name: jax.ShapeDtypeStruct(shape, np.uint8)
      for name, shape in shapes.items()
    }
    for name in supply.numbers:
      arrays[name] = jax.ShapeDtypeStruct((self.batch_size_u,), np.int32)
    return arrays
