"""Class names and colors of datasets that a file of weights may stem from."""

from u2pl_jax.data import cityscapes_labels

Color = tuple[int, int, int]  # RGB in [0, 255].

VOC_NAMES = (
  "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car",
  "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person",
  "pottedplant", "sheep", "sofa", "train", "tvmonitor"
)  # fmt: skip


def voc_palette(length: int) -> tuple[Color, ...]:
  """Returns the colors PASCAL VOC gives the first class ids."""
  return tuple(_voc_color(label) for label in range(length))


def _voc_color(label: int) -> Color:
  """Returns the color PASCAL VOC gives a class id: its bits, spread."""
  bits = [(label >> i) & 1 for i in range(8)]
  channels = [bits[c::3] for c in range(3)]
  red, green, blue = (
    sum(b << (7 - i) for i, b in enumerate(c)) for c in channels
  )
  return red, green, blue


def guess_classes(
  num_classes: int,
) -> tuple[tuple[str, ...], tuple[Color, ...]]:
  """Names and palette of a network of which only the class count is known.

  21 classes are PASCAL VOC's and 19 are Cityscapes', as in all published
  checkpoints; others are numbered.
  """
  if num_classes == len(VOC_NAMES):
    return VOC_NAMES, voc_palette(num_classes)
  if num_classes == len(cityscapes_labels.CLASS_NAMES):
    return cityscapes_labels.CLASS_NAMES, cityscapes_labels.PALETTE
  names = tuple(f"class {index}" for index in range(num_classes))
  return names, voc_palette(num_classes)
