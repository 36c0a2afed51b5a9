"""Confidences of the classes over several steps, and what follows from them."""

import json

import numpy as np

from tests.parity import golden, tiny_net
from u2pl_jax.methods.u2pl_ael import confidence, copy_paste


def _steps(path):
  """Config, recorded steps, and each one's logits and labels."""
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  steps = tiny_net.cases(arrays, "step")
  assert len(steps) == config["steps"]
  for step in steps:
    logits = np.float32(step["student_logits_q"]) / config["logit_scale"]
    yield (
      config,
      arrays,
      step,
      golden.channels_last(logits),
      step["label"].astype(np.int32),
    )


@golden.every_file("ael_confidence")
def test_confidences_of_the_published_code(path):
  before = None
  for config, arrays, step, logits, labels in _steps(path):
    before = arrays["conf_initial"] if before is None else before
    value, seen = confidence.measure(logits, labels, mean="pixel")
    np.testing.assert_allclose(value, step["value"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(seen), step["present_classes"])
    before = confidence.update(
      before, value, seen, momentum=config["momentum"], absent="zero"
    )
    np.testing.assert_allclose(before, step["conf"], rtol=0, atol=1e-6)


@golden.every_file("ael_confidence")
def test_confidences_of_the_paper(path):
  before = None
  for config, arrays, step, logits, labels in _steps(path):
    before = arrays["conf_initial"] if before is None else before
    value, seen = confidence.measure(logits, labels, mean="image")
    expected = np.where(step["paper_seen"], step["paper_value"], 0)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(seen, step["paper_seen"])
    before = confidence.update(
      before, value, seen, momentum=config["momentum"], absent="keep"
    )
    np.testing.assert_allclose(before, step["paper_conf"], rtol=0, atol=1e-6)


@golden.every_file("ael_confidence")
def test_probabilities_of_the_classes(path):
  for config, arrays, step, *_ in _steps(path):
    # The excluded classes of the recording are ids, of which there may be
    # fewer here.
    excluded = [c for c in config["copy_paste_excluded"] if c < config["K"]]
    names = [str(c) for c in range(config["K"])]
    allowed = copy_paste.find_allowed(excluded, names)
    classes = arrays["copy_paste_class_list"]
    np.testing.assert_array_equal(np.flatnonzero(allowed), classes)
    actual = confidence.class_probability(
      step["conf"], power=config["copy_paste_power"], is_allowed=allowed
    )
    expected = np.zeros(config["K"])
    expected[classes] = step["copy_paste_class_probability"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    actual = confidence.class_probability(step["conf"])
    expected = step["cutmix_class_probability"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@golden.every_file("ael_confidence")
def test_keep_rates(path):
  prefix = "sampling_rate_gamma2_"
  for _, _, step, *_ in _steps(path):
    betas = [name.removeprefix(prefix) for name in step if prefix in name]
    assert betas
    for beta in betas:
      actual = confidence.keep_rate(step["conf"], float(beta))
      expected = step[f"{prefix}{beta}"]
      np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
