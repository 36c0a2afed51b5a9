"""The weighted, sampled consistency loss."""

import json

import jax
import numpy as np
import pytest

from tests.parity import golden
from u2pl_jax.methods.u2pl_ael import confidence, consistency


def _inputs(arrays):
  """Logits of the student and confidence of the teacher."""
  config = json.loads(str(arrays["config_json"]))
  student, teacher = (
    golden.channels_last(
      np.float32(arrays[f"{who}_logits_q"]) / config["logit_scale"]
    )
    for who in ("student", "teacher")
  )
  return student, np.max(jax.nn.softmax(teacher), axis=-1)


def _cases(arrays):
  """(recorded arrays of a case, its settings, our weights and keep rate)."""
  config = json.loads(str(arrays["config_json"]))
  assert config["cases"]
  logits, sureness = _inputs(arrays)
  uniform = (np.float32(arrays["uniform_q"]) + 0.5) / 256
  for case in config["cases"]:
    name = "sample{sample:d}_gamma{gamma}_beta{beta}/".format(**case)
    recorded = {
      key.removeprefix(name): value
      for key, value in arrays.items()
      if key.startswith(name)
    }
    rate = confidence.keep_rate(arrays["class_confidence"], case["beta"])
    used = rate if case["sample"] else np.ones_like(rate)
    weights = consistency.pixel_weights(
      logits,
      sureness,
      np.broadcast_to(uniform, sureness.shape),
      used,
      gamma=case["gamma"],
    )
    yield recorded, case, weights, rate


def _loss(arrays, weights, by, with_ignored):
  logits, _ = _inputs(arrays)
  labels = arrays["target"].astype(np.int32)

  def compute(logits):
    return consistency.compute_loss(
      logits, labels, weights, by=by, with_ignored=with_ignored
    )

  return jax.value_and_grad(compute)(logits)


@golden.every_file("ael_consistency")
def test_confidence_of_the_teacher(path):
  arrays = golden.load(path)
  _, sureness = _inputs(arrays)
  expected = arrays["teacher_confidence"]
  np.testing.assert_allclose(sureness, expected, rtol=0, atol=1e-6)


@golden.every_file("ael_consistency")
def test_keep_rates_and_kept_pixels(path):
  arrays = golden.load(path)
  for recorded, _, weights, rate in _cases(arrays):
    expected = recorded["sampling_rate"]
    np.testing.assert_allclose(rate, expected, rtol=0, atol=1e-5)
    kept = golden.unpack_mask(recorded["keep"], weights.shape)
    np.testing.assert_array_equal(weights > 0, kept)


@golden.every_file("ael_consistency")
def test_loss_and_gradient_of_the_published_code(path):
  arrays = golden.load(path)
  for recorded, _, weights, _ in _cases(arrays):
    loss, gradient = _loss(arrays, weights, "batch", with_ignored=True)
    assert loss == pytest.approx(recorded["loss"], rel=1e-5)
    norm = np.linalg.norm(np.asarray(gradient, "f8"))
    assert norm == pytest.approx(recorded["grad_l2"], rel=1e-4)
    moved = np.count_nonzero(np.any(gradient != 0, axis=-1))
    assert abs(moved - recorded["grad_pixels"]) <= 2
    expected = golden.channels_last(recorded["grad_sample"])
    actual = gradient[:, ::3, ::3]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-7)


@golden.every_file("ael_consistency")
def test_losses_of_the_paper_and_without_ignored_pixels(path):
  arrays = golden.load(path)
  for recorded, _, weights, _ in _cases(arrays):
    loss, _ = _loss(arrays, weights, "image", with_ignored=False)
    assert loss == pytest.approx(recorded["paper_loss"], rel=1e-5)
    loss, _ = _loss(arrays, weights, "batch", with_ignored=False)
    expected = recorded["loss_ignored_out_of_normaliser"]
    assert loss == pytest.approx(expected, rel=1e-5)


@golden.every_file("ael_consistency")
def test_all_ignored(path):
  arrays = golden.load(path)
  ignored = arrays | {"target": np.full_like(arrays["target"], 255)}
  for _, _, weights, _ in _cases(arrays):
    for by in ("batch", "image"):
      for with_ignored in (True, False):
        loss, gradient = _loss(ignored, weights, by, with_ignored)
        assert loss == arrays["all_ignored/loss"]
        assert not np.any(gradient)
