"""Figures of an image, by hand, from the files of its prediction."""

import math

import numpy as np
import pytest
from PIL import Image

from u2pl_jax.predict import findings


def test_figures_are_those_of_the_files(tmp_path):
  for name, mask, entropy in (
    ("sub/a", [[0, 2, 255, 255]], [[0, 51, 255, 255]]),
    ("b", [[1]], [[0]]),
  ):
    for kind, pixels in (("masks", mask), ("entropy", entropy)):
      path = tmp_path / kind / f"{name}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.array(pixels, np.uint8)).save(path)
  first, second = findings.read(tmp_path, ["sub/a", "b"], num_classes=4)
  # (0 + 0.2 + 1 + 1) / 4 of log 4.
  assert first.mean_entropy == pytest.approx(0.55 * math.log(4))
  assert first.unreliable == 0.5 and first.classes == (0, 2)
  assert second == findings.Finding(0.0, 0.0, (1,))
