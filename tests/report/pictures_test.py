import base64
import io

import numpy as np
from PIL import Image

from tests.report import reported
from u2pl_jax.evaluation import metrics
from u2pl_jax.report import examples, pictures

PALETTE = ((10, 20, 30), (200, 0, 0))
WHITE = (255, 255, 255)


def make_example():
  view = examples.View(
    prediction=np.array([[0, 1, 1]], np.uint8),
    entropy=np.array([[0.0, 0.5, np.log(2)]], np.float16),
    scores=metrics.compute_scores(np.eye(2)),
  )
  return examples.Example(
    name="a",
    record=0,
    image=np.full((1, 3, 3), 7, np.uint8),
    label=np.array([[0, 0, 255]], np.uint8),
    views=(view,),
  )


def draw(threshold=0.5):
  example = make_example()
  drawn = [
    *pictures.of_image(example, PALETTE),
    *pictures.of_view(example, 0, PALETTE, threshold),
  ]
  return {picture.title: picture.pixels for picture in drawn}


def test_pixels_have_the_colors_of_the_legend():
  drawn = draw()
  colors = pictures.ERROR_COLORS
  expected = {
    "Image": [(7, 7, 7)] * 3,
    "Label": [PALETTE[0], PALETTE[0], WHITE],
    "Prediction": [PALETTE[0], PALETTE[1], PALETTE[1]],
    "Errors": [colors["right"], colors["wrong"], colors["not labeled"]],
    "Pseudo-label": [PALETTE[0], WHITE, WHITE],
  }
  for title, row in expected.items():
    np.testing.assert_array_equal(drawn[title], [row], title)
  np.testing.assert_array_equal(drawn["Entropy"][0, :, 0], [0, 184, 255])


def test_pixels_below_the_threshold_keep_their_pseudo_label():
  np.testing.assert_array_equal(
    draw(threshold=0.51)["Pseudo-label"], [[PALETTE[0], PALETTE[1], WHITE]]
  )


def test_flat_pictures_are_stored_without_loss():
  example = reported.make_example(noise=1.0)
  palette = np.random.default_rng(0).integers(0, 256, (5, 3))
  for picture in pictures.of_view(example, 0, palette, threshold=1.0):
    kind, content = pictures.to_data_uri(picture).split(",")
    assert kind == "data:image/webp;base64"
    stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert stored.shape == picture.pixels.shape
    if picture.flat:
      np.testing.assert_array_equal(stored, picture.pixels)
    else:
      difference = stored.astype(int) - picture.pixels
      assert np.abs(difference).mean() < 20
