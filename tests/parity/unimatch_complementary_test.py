"""Complementary dropout equals the published one, given its draws; exact."""

import numpy as np

from tests.parity import golden, unimatch_step
from u2pl_jax.methods.consistency import features


@golden.every_file("unimatch_complementary")
def test_masks_and_dropped_features(path):
  arrays = golden.load(path)
  for count in unimatch_step.config_of(arrays)["n"]:
    case = {
      name.partition("/")[2]: array
      for name, array in arrays.items()
      if name.startswith(f"n{count}/")
    }
    untouched = case["permutation"][: int(0.5 * count)]
    np.testing.assert_array_equal(untouched, case["untouched_images"])
    is_untouched = np.isin(np.arange(count), untouched)
    masks = features.complementary(case["binary"] > 0, is_untouched)
    mask = np.concatenate(masks)
    np.testing.assert_array_equal(mask, case["mask"])
    for level in (0, 3):
      np.testing.assert_array_equal(
        case[f"features_level{level}"] * mask[:, None],
        case[f"dropped_level{level}"],
      )
