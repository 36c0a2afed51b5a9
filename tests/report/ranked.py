"""Predictions of a few images, as files, and the page that shows them."""

import numpy as np
from PIL import Image

from tests import tiny_network
from tests.tools import photos
from u2pl_jax.predict import findings, photographs, ranking, reliability
from u2pl_jax.report import ranking_page

NAMES = ("a<b>", "sub/c")
SIZE = (30, 40)


def write_files(out):
  """Writes images and predictions; returns the images in order."""
  rng, ranked = np.random.default_rng(0), []
  for seed, name in enumerate(NAMES):
    kinds = {"in": photos.make_image(seed, SIZE)}
    kinds["masks"] = rng.choice([0, 2, 255], SIZE).astype(np.uint8)
    kinds["entropy"] = rng.integers(0, 256, SIZE, np.uint8)
    for kind, pixels in kinds.items():
      path = out / kind / f"{name}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(pixels).save(path)
    image = photographs.Photograph(out / f"in/{name}.png", name)
    finding = findings.Finding(0.5 + seed, 0.25, (0, 2) if seed else ())
    ranked.append(ranking.Ranked(image, finding, 1.25))
  return ranked


def render(out, rule=reliability.Rule(max_entropy=0.75)):
  """The page of `write_files`, of seven images in all."""
  ranked = write_files(out)
  return ranking_page.render(out, ranked, 7, tiny_network.make_trained(), rule)
