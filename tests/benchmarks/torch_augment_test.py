"""The peer's mixes equal the recorded ones of the published code."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.peers import torch_augment  # noqa: E402
from tests.benchmarks import torch_golden  # noqa: E402
from tests.parity import chance, golden  # noqa: E402

_DRAWS = 2000


@golden.every_file("augmentation")
@pytest.mark.parametrize("mode", ["cutout", "cutmix", "classmix"])
def test_mixes(path, mode):
  """Exact, given the recorded masks."""
  arrays = golden.load(path)
  if f"mix/{mode}/masks" not in arrays:
    pytest.skip("not in the compact copy")
  images, labels = torch_augment.mix(
    torch_golden.tensor(arrays[f"mix/{mode}/masks"], torch.float32),
    torch_golden.tensor(arrays["mix/data"]),
    torch_golden.labels(arrays["mix/target"]),
    mode,
  )
  np.testing.assert_array_equal(images, arrays[f"mix/{mode}/data"])
  np.testing.assert_array_equal(labels, arrays[f"mix/{mode}/target"])


@golden.every_file("augmentation")
def test_boxes(path):
  """Area and sides as often as recorded."""
  arrays = golden.load(path)
  rng = np.random.default_rng(0)
  cases = [name for name in arrays if re.match(r"box_mask_\d+x\d+/area", name)]
  assert cases
  for name in cases:
    height, width = map(int, re.findall(r"\d+", name.split("/")[0]))
    areas = [
      np.mean(torch_augment.make_box_mask(height, width, rng) == 0)
      for _ in range(_DRAWS)
    ]
    expected = dict(zip(arrays["stats_columns"], arrays[name], strict=True))
    chance.assert_same_distribution(np.array(areas), expected, _DRAWS)


def test_classmix_keeps_half_of_the_classes():
  labels = torch.arange(5).repeat(4, 1)
  mask = torch_augment.make_class_mask(labels)
  assert mask.shape == (4, 5)
  assert torch.equal(mask, mask[:1].expand(4, 5))  # Whole classes.
  assert mask[0].sum() == 2
  one = torch.zeros(3, 3, dtype=torch.int64)
  assert not torch_augment.make_class_mask(one).any()
