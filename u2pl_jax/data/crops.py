"""From a stored example to the arrays that a batch holds of it."""

import dataclasses

import numpy as np
import tensorflow as tf

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.data import options, preprocess, reading, streams
from u2pl_jax.data import supply as supply_lib
from u2pl_jax.ops import normalize

# Random numbers that a crop takes.
NUM_DRAWS = preprocess.NUM_DRAWS


@dataclasses.dataclass(frozen=True)
class Crop:
  """Which images of a stream become which arrays, and how.

  Attributes:
    suffix: of the arrays' names, as in `supply`.
    settings: how a crop is drawn.
    has_label: whether there is a mask, `label_*`.
    marks_padding: whether there is a map of the padding, `padding_*`.
    purpose: of the random numbers, see `streams`.
    probability: that an image has a partner; for "p" alone.
  """

  suffix: str
  settings: options.DataOptions
  has_label: bool = False
  marks_padding: bool = False
  purpose: int = streams.AUGMENTATION
  probability: float = 1.0

  @property
  def names(self) -> tuple[str, ...]:
    """Of the arrays."""
    return (
      (f"image_{self.suffix}",)
      + (f"label_{self.suffix}",) * self.has_label
      + (f"padding_{self.suffix}",) * self.marks_padding
    )

  def find(
    self, stream: streams.Stream, positions: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Records [B], -1 for none, and random numbers [B, NUM_DRAWS].

    Args:
      stream: the labeled or the unlabeled one.
      positions: int64 [B].
    """
    if self.purpose == streams.PARTNER:
      records = stream.partners_at(positions, self.probability)
    else:
      records = stream.records_at(positions)
    return records, self.draw(stream, positions)

  def draw(self, stream: streams.Stream, positions: np.ndarray) -> np.ndarray:
    """The random numbers alone."""
    return stream.draws_at(positions, NUM_DRAWS, self.purpose)

  def make(
    self, serialized: tf.Tensor, draws: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """The arrays of a record by name; zeros where the record is empty.

    Args:
      serialized: scalar string.
      draws: float64 [NUM_DRAWS].
    """
    size = self.settings.crop_size

    def crop():
      pixels = preprocess.decode_example(serialized, with_label=self.has_label)
      return reading.map_crops(
        self._cut, [draws, *pixels], size, num_maps=len(self.names) - 1
      )

    def leave_empty():
      maps = [tf.zeros(size, tf.uint8)] * (len(self.names) - 1)
      return [tf.zeros((*size, 3), tf.uint8), *maps]

    if self.purpose == streams.PARTNER:
      is_none = tf.equal(tf.strings.length(serialized), 0)
      arrays = tf.cond(is_none, leave_empty, crop)
    else:
      arrays = crop()
    return dict(zip(self.names, arrays, strict=True))

  def _cut(
    self, draws: np.ndarray, image: np.ndarray, label: np.ndarray | None = None
  ) -> list[np.ndarray]:
    """A random crop of an image, and of its mask or its padding."""
    draw_window = {
      "factor": preprocess.random_window,
      "long_side": preprocess.random_long_side,
    }[self.settings.resizing]
    window = draw_window(
      image.shape[:2],
      draws,
      crop_size=self.settings.crop_size,
      scale_range=self.settings.scale_range,
      flip_prob=self.settings.flip_prob,
    )
    return self.show(window, image, label)

  def show(
    self,
    window: preprocess.Window,
    image: np.ndarray,
    label: np.ndarray | None = None,
  ) -> list[np.ndarray]:
    """What a window shows of an image, and of its mask or its padding.

    Args:
      window: what to show.
      image: uint8 [H, W, 3].
      label: uint8 [H, W]; None for none.

    Returns:
      uint8 arrays in the order of `names`, of the size of the crop.
    """
    settings = self.settings
    resize_image, resize_label = {
      "factor": (preprocess.resize_image, preprocess.resize_label),
      "long_side": (preprocess.resize_smoothly,) * 2,
    }[settings.resizing]
    color, before = {
      "center": (normalize.MEAN_COLOR, (0.5, 0.5)),
      # To the right of what is mirrored once it is padded.
      "corner": ((0, 0, 0), (0.0, float(window.flip))),
    }[settings.padding]

    def pad(pixels, value):
      return preprocess.pad_to_crop(pixels, settings.crop_size, value, before)

    image = resize_image(image, window)
    crops = [pad(image, color)]
    if label is not None:
      crops.append(pad(resize_label(label, window), settings.pad_label))
    if self.marks_padding:
      crops.append(pad(np.zeros(image.shape[:2], np.uint8), 1))
    return crops


def read_ahead(
  settings: options.DataOptions, supply: supply_lib.Supply
) -> tuple[Crop, ...]:
  """The crops of a batch that depend on nothing but seed and step.

  Args:
    settings: of the data.
    supply: what batches hold.
  """
  crops = [Crop("l", settings, has_label=True)]
  if supply.partner is not None:
    scaled = dataclasses.replace(
      settings, scale_range=supply.partner.scale_range
    )
    partner = Crop(
      "p",
      scaled,
      has_label=True,
      purpose=streams.PARTNER,
      probability=supply.partner.probability,
    )
    crops.append(partner)
  if supply.unlabeled:
    crops.append(_unlabeled("u", settings, supply))
  if supply.second == "same":
    crops.append(_second(settings, supply))
  return tuple(crops)


def asked_for(
  settings: options.DataOptions, supply: supply_lib.Supply
) -> Crop | None:
  """The crop of the images that a method asks for; None if it does not."""
  return _second(settings, supply) if supply.is_requested else None


def _second(settings: options.DataOptions, supply: supply_lib.Supply) -> Crop:
  crop = _unlabeled("u2", settings, supply)
  return dataclasses.replace(crop, purpose=streams.SECOND)


def _unlabeled(
  suffix: str, settings: options.DataOptions, supply: supply_lib.Supply
) -> Crop:
  # What padding is trained as says nothing of what it shows.
  return Crop(
    suffix,
    dataclasses.replace(settings, pad_label=IGNORE_LABEL),
    has_label=settings.unlabeled_masks,
    marks_padding=supply.padding,
  )
