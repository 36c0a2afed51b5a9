"""CutMix of images and targets equals the published one, pixel for pixel."""

import numpy as np

from tests.parity import golden, unimatch_step
from u2pl_jax.methods.consistency import targets
from u2pl_jax.ops import boxes


@golden.every_file("unimatch_cutmix")
def test_mixes(path):
  arrays = golden.load(path)
  for step in unimatch_step.steps_of(arrays):
    own = unimatch_step.guess_of(step)
    if "ignore_mix" in step:
      other = unimatch_step.guess_of(step, "_mix")
    else:
      other = targets.reverse(own, 1)
    drawn = unimatch_step.draws_of(step)
    others = drawn.partners or targets.reverse(drawn.strong, 1)
    for index, box in enumerate(drawn.boxes):
      mask = boxes.inside(box, own.labels.shape[1:])
      mixed = targets.mix(mask, own, other)
      images = targets.mix(mask, drawn.strong[index], others[index])
      expected = {
        f"target{index + 1}": mixed.labels,
        f"confidence{index + 1}": mixed.confidence,
        f"ignore{index + 1}": np.where(mixed.is_image, 0, 255),
        f"image_s{index + 1}_mixed_q": np.moveaxis(images, -1, 1),
      }
      for name, actual in expected.items():
        np.testing.assert_array_equal(actual, step[name], err_msg=name)
