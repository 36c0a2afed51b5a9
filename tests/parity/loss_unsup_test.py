"""Entropy threshold and loss on pseudo-labels equal the published ones."""

import jax
import numpy as np

from tests.parity import golden
from u2pl_jax.losses import pixelwise
from u2pl_jax.methods.u2pl import partition
from u2pl_jax.ops import percentile

_entropy = jax.jit(percentile.compute_entropy)
_loss_and_gradient = jax.jit(jax.value_and_grad(pixelwise.unsupervised_loss))


@jax.jit
def _split(entropy, valid, drop_percent):
  # The share of unreliable pixels has no part in this loss.
  return partition.partition_by_entropy(
    entropy,
    valid,
    drop_percent=drop_percent,
    unreliable_percent=20.0,
    reliable="lowest",
  )


def _cases(arrays):
  """(index, keep mask) for each of the recorded percents."""
  assert arrays["percents"].size
  shape = arrays["target"].shape
  for index in range(arrays["percents"].size):
    yield index, golden.unpack_mask(arrays[f"keep_mask_{index}"], shape)


@golden.every_file("loss_unsup")
def test_entropy(path):
  arrays = golden.load(path)
  actual = _entropy(golden.channels_last(arrays["pred_teacher"]))
  np.testing.assert_allclose(actual, arrays["entropy"], rtol=0, atol=1e-5)


@golden.every_file("loss_unsup")
def test_threshold_and_kept_pixels(path):
  """Thresholds within 1e-5; given the recorded entropy, masks are exact."""
  arrays = golden.load(path)
  valid = arrays["target"] != 255
  for index, kept in _cases(arrays):
    percent = arrays["percents"][index]
    split = _split(arrays["entropy"], valid, percent)
    np.testing.assert_allclose(
      split.drop_threshold, arrays["threshold"][index], rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(split.kept, kept)
    count = np.sum(split.kept)
    assert count == arrays["kept"][index]
    weight = kept.size / count
    np.testing.assert_allclose(weight, arrays["weight"][index], rtol=1e-5)


@golden.every_file("loss_unsup")
def test_loss_and_gradient_from_logits(path):
  """Counts within one pixel, losses within 1e-5 relative.

  No tolerance is given for gradients: 1e-4 relative covers the sums of their
  squares, and 1e-7 those entries that are next to nothing.
  """
  arrays = golden.load(path)
  entropy = _entropy(golden.channels_last(arrays["pred_teacher"]))
  labels = arrays["target"]
  for index, kept in _cases(arrays):
    split = _split(entropy, labels != 255, arrays["percents"][index])
    assert np.sum(split.kept != kept) <= 1
    loss, gradient = _loss_and_gradient(
      golden.channels_last(arrays["predict"]), labels, split.kept
    )
    np.testing.assert_allclose(loss, arrays["loss"][index], rtol=1e-5)
    norm = np.linalg.norm(gradient)
    np.testing.assert_allclose(norm, arrays["grad_l2"][index], rtol=1e-4)
    sample = np.moveaxis(gradient, -1, 1)[:, ::5, ::4, ::4]
    np.testing.assert_allclose(
      sample, arrays[f"grad_sample_{index}"], rtol=1e-4, atol=1e-7
    )
