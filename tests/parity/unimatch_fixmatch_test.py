"""Single steps of FixMatch equal those of both published versions."""

import numpy as np

from tests.parity import golden, unimatch_step


def _steps(path):
  arrays = golden.load(path)
  config = unimatch_step.config_of(arrays)
  for step in unimatch_step.steps_of(arrays):
    found = unimatch_step.replay("fixmatch", arrays["config_json"], step)
    yield config, step, found


@golden.every_file("unimatch_fixmatch")
def test_steps(path):
  """Losses within 1e-5 relative, gradients within 1e-7, all else exact."""
  for config, step, (losses, lesson, _, gradients) in _steps(path):
    for name, weight in unimatch_step.weights_of("fixmatch", config).items():
      loss = losses[unimatch_step.NAMES_OF_LOSSES[name]] / weight
      np.testing.assert_allclose(loss, step[f"loss_{name}"], rtol=1e-5)
      np.testing.assert_allclose(
        gradients[name],
        golden.channels_last(step[f"grad_{name}"]),
        rtol=0,
        atol=1e-7,
      )
    np.testing.assert_allclose(losses["total"], step["loss_total"], rtol=1e-5)
    (target,) = lesson.targets.strong
    np.testing.assert_array_equal(target.labels, step["target1"])
    np.testing.assert_array_equal(
      np.where(target.is_image, 0, 255), step["ignore1"]
    )
    np.testing.assert_array_equal(
      unimatch_step.mixed_images(step, lesson)["s1"],
      unimatch_step.images_of(step, "image_s1_mixed"),
    )
