"""What the page about the first ranks says."""

import base64
import html
import io
import re

import numpy as np
from PIL import Image

from tests import tiny_network
from tests.report import ranked
from u2pl_jax.evaluation import visualize
from u2pl_jax.predict import reliability


def test_ranks_have_names_figures_and_classes(tmp_path):
  page = ranked.render(tmp_path)
  assert "The first 2 of 7 unlabeled images" in page
  titles = re.findall(r"<h3>(.*?)</h3>", page)
  assert list(map(html.unescape, titles)) == ["1. a<b>.png", "2. sub/c.png"]
  text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
  assert "1. a&lt;b&gt;.png no class is sure" in text
  assert "entropy 0.500 · unreliable 25 % unlike 1.25" in text
  assert "2. sub/c.png sky, tree" in text
  assert "entropy 1.500 · unreliable 25 % unlike 1.25" in text
  assert "unreliable: the entropy is 0.75 nats or more" in text


def test_the_rule_may_be_one_of_confidence(tmp_path):
  page = ranked.render(tmp_path, reliability.Rule(min_confidence=0.9))
  assert "unreliable: a class is less probable than 0.9" in page


def test_pictures_are_those_of_the_files(tmp_path):
  page = ranked.render(tmp_path)
  encoded = re.findall(r'src="data:image/webp;base64,([^"]*)"', page)
  assert len(encoded) == 4 * len(ranked.NAMES)
  drawn = [
    np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    for text in encoded
  ]
  mask = np.asarray(Image.open(tmp_path / f"masks/{ranked.NAMES[0]}.png"))
  colors = visualize.colorize(mask, tiny_network.PALETTE)
  np.testing.assert_array_equal(drawn[2], colors)  # The only lossless one.
  assert all(picture.shape == (*ranked.SIZE, 3) for picture in drawn)
