"""The pictures of an example, and their form in a page."""

import base64
import dataclasses
import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from u2pl_jax import IGNORE_LABEL
from u2pl_jax.evaluation import visualize
from u2pl_jax.report import examples

ERROR_COLORS = {
  "right": (76, 84, 96),
  "wrong": (235, 80, 60),
  "not labeled": (255, 255, 255),
}
_QUALITY = 70  # Of lossy pictures.


@dataclasses.dataclass(frozen=True)
class Picture:
  """One picture of an example.

  Attributes:
    title: what it shows.
    pixels: uint8 [h, w, 3] RGB.
    flat: whether it has few colors, each with a meaning.
  """

  title: str
  pixels: np.ndarray
  flat: bool


def of_image(
  example: examples.Example, palette: Sequence[Sequence[int]]
) -> Iterator[Picture]:
  """Image and label."""
  yield Picture("Image", example.image, False)
  label = visualize.colorize(example.label, palette)
  yield Picture("Label", label, True)


def of_view(
  example: examples.Example,
  index: int,
  palette: Sequence[Sequence[int]],
  threshold: float,
) -> Iterator[Picture]:
  """Prediction, errors, entropy and pseudo-label of one network.

  Args:
    example: the image that the network looked at.
    index: which of the networks.
    palette: [K] RGB.
    threshold: nats; pixels at or above it are left out of the pseudo-label, and
      white, like pixels without a label.
  """
  view = example.views[index]
  prediction = visualize.colorize(view.prediction, palette)
  yield Picture("Prediction", prediction, True)
  yield Picture("Errors", _draw_errors(example.label, view.prediction), True)
  entropy = visualize.entropy_image(view.entropy, len(palette))
  yield Picture("Entropy", entropy, False)
  kept = np.where(view.entropy < threshold, view.prediction, IGNORE_LABEL)
  yield Picture("Pseudo-label", visualize.colorize(kept, palette), True)


def _draw_errors(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
  kind = np.where(label == IGNORE_LABEL, 2, label != prediction)
  return np.array(list(ERROR_COLORS.values()), np.uint8)[kind]


def to_data_uri(picture: Picture) -> str:
  """A WebP file as an address; lossless if the picture is flat."""
  encoded = io.BytesIO()
  Image.fromarray(picture.pixels).save(
    encoded, "webp", lossless=picture.flat, quality=_QUALITY
  )
  content = base64.b64encode(encoded.getvalue()).decode()
  return f"data:image/webp;base64,{content}"
