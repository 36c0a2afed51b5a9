"""The losses of single steps of UniMatch equal the published ones.

The network is scripted; what the project's method makes of its logits is
compared: labels, mixed targets and images, losses, and gradients.
"""

import numpy as np

from tests.parity import golden, unimatch_step

_METHODS = {1: "unimatch", 2: "unimatch_v2"}


def _steps(path):
  """(config, arrays, what was replayed) of each step."""
  arrays = golden.load(path)
  config = unimatch_step.config_of(arrays)
  name = _METHODS[config["version"]]
  for step in unimatch_step.steps_of(arrays):
    yield config, step, unimatch_step.replay(name, arrays["config_json"], step)


@golden.every_file("unimatch_loss")
def test_losses(path):
  """Within 1e-5 relative, their weights exactly."""
  for config, step, (losses, _, metrics, _) in _steps(path):
    weights = unimatch_step.weights_of(_METHODS[config["version"]], config)
    for name, weight in weights.items():
      if f"weight_{name}" in step:
        assert weight == step[f"weight_{name}"]
      loss = losses[unimatch_step.NAMES_OF_LOSSES[name]] / weight
      np.testing.assert_allclose(
        loss, step[f"loss_{name}"], rtol=1e-5, err_msg=name
      )
    np.testing.assert_allclose(losses["total"], step["loss_total"], rtol=1e-5)
    np.testing.assert_allclose(
      metrics["consistency/mask_ratio"], step["mask_ratio"], rtol=0, atol=1e-6
    )


@golden.every_file("unimatch_loss")
def test_targets(path):
  """Labels and padding exact, confidence within 1e-6."""
  for config, step, (_, lesson, _, _) in _steps(path):
    found = lesson.targets
    for index, guess in enumerate(found.strong, start=1):
      recorded = {
        "target": guess.labels,
        "ignore": np.where(guess.is_image, 0, 255),
      }
      for name, actual in recorded.items():
        np.testing.assert_array_equal(actual, step[f"{name}{index}"])
      np.testing.assert_allclose(
        guess.confidence, step[f"confidence{index}"], rtol=0, atol=1e-6
      )
      kept = guess.is_image & (guess.confidence >= config["conf_thresh"])
      assert np.sum(kept) == step[f"kept{index}"]
      assert np.sum(guess.is_image) == step[f"denominator{index}"]


@golden.every_file("unimatch_loss")
def test_labels_of_weak_views(path):
  """Before they are mixed: the student's own, or the teacher's."""
  for config, step, (_, lesson, _, _) in _steps(path):
    logits = unimatch_step.logits_of(step, "w", config["logit_scale"])
    guess = unimatch_step.targets.guess(logits, step["ignore"] // 255)
    if config["version"] == 1:
      guess = lesson.targets.weak
    np.testing.assert_array_equal(guess.labels, step["pseudo_label"])
    np.testing.assert_allclose(
      guess.confidence, step["confidence"], rtol=0, atol=1e-6
    )
    assert np.sum(guess.is_image) == step["denominator"]


@golden.every_file("unimatch_loss")
def test_mixed_images(path):
  """Exact: pixels are copied."""
  for _, step, (_, lesson, _, _) in _steps(path):
    for name, images in unimatch_step.mixed_images(step, lesson).items():
      expected = unimatch_step.images_of(step, f"image_{name}_mixed")
      np.testing.assert_array_equal(images, expected)


@golden.every_file("unimatch_loss")
def test_gradients(path):
  """Within 1e-7 absolute; exactly 0 where there is no path."""
  for config, step, (_, _, _, gradients) in _steps(path):
    gradients = dict(gradients)
    if config["version"] == 1:
      np.testing.assert_array_equal(gradients.pop("w"), 0)
      labeled, gradients["fp"] = np.split(gradients["fp"], [len(step["label"])])
      np.testing.assert_array_equal(labeled, 0)
    for name, actual in gradients.items():
      expected = golden.channels_last(step[f"grad_{name}"])
      np.testing.assert_allclose(
        actual, expected, rtol=0, atol=1e-7, err_msg=name
      )
