"""Windows that cover an image, and logits put together from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.evaluation import inference

IMAGES = np.random.default_rng(0).normal(size=(2, 11, 14, 3)).astype("float32")


def _pointwise(images):
  """A network without context: windows must not change its logits."""
  return jnp.stack([images.sum(-1), images[..., 0] * 2], axis=-1)


@pytest.mark.parametrize(
  ("side", "window", "rate", "starts"),
  [
    (10, 4, 0.5, [0, 2, 4, 6]),
    (11, 4, 0.5, [0, 2, 4, 6, 7]),  # The last one is moved back.
    (4, 4, 0.5, [0]),
    (10, 4, 1.0, [0, 4, 6]),
    (1024, 769, 2 / 3, [0, 255]),
    (2048, 769, 2 / 3, [0, 513, 1026, 1279]),
  ],
)
def test_windows_cover_the_side(side, window, rate, starts):
  assert inference.window_starts(side, window, rate) == starts


@pytest.mark.parametrize(
  ("side", "window", "rule", "starts"),
  [
    (1024, 801, "cut", [0, 534]),
    (2048, 801, "cut", [0, 534, 1068, 1602]),
    (1024, 798, "shifted", [0, 226]),
    (2048, 798, "shifted", [0, 532, 1064, 1250]),
    (30, 50, "cut", [0]),
    # Of 10 / 1.5 pixels, U2PL moves on by 7, UniMatch by 6.
    (20, 10, "averaged", [0, 7, 10]),
    (20, 10, "shifted", [0, 6, 10]),
  ],
)
def test_windows_are_laid_as_each_rule_says(side, window, rule, starts):
  assert inference.window_starts(side, window, 2 / 3, rule) == starts


@pytest.mark.parametrize("rule", ["cut", "shifted"])
@pytest.mark.parametrize("window", [(5, 6), (20, 20)])
def test_probabilities_of_windows_are_averaged(rule, window):
  logits = inference.slide(_pointwise, IMAGES, window, rule=rule)
  expected = jax.nn.log_softmax(_pointwise(IMAGES), axis=-1)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_windows_that_are_cut_off_are_smaller():
  seen = []

  def net(images):
    seen.append(images.shape[1:3])
    return _pointwise(images)

  inference.slide(net, jnp.zeros((1, 4, 10, 3)), (4, 6), rule="cut")
  # They begin at 0, 4 and 8 and at rows 0 and 2.
  assert set(seen) == {(4, 6), (4, 2), (2, 6), (2, 2)}


@pytest.mark.parametrize("rate", [0, -0.5, 1.5])
def test_a_stride_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="stride_rate"):
    inference.window_starts(10, 4, rate)


@pytest.mark.parametrize("window", [(5, 6), (11, 14), (16, 5), (20, 20)])
def test_windows_of_any_size_give_the_logits_of_a_pointwise_net(window):
  logits = inference.slide(_pointwise, IMAGES, window)
  np.testing.assert_allclose(logits, _pointwise(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  "side, at_once", [(65, 4), (513, 4), (641, 2), (769, 1), (1537, 1)]
)
def test_large_windows_come_in_smaller_batches(side, at_once):
  def net(windows):
    seen.append(windows.shape)
    return windows[..., :1]

  seen = []
  images = jax.ShapeDtypeStruct((1, side, 4 * side, 3), jnp.float32)
  jax.eval_shape(
    lambda images: inference.slide(net, images, (side, side), stride_rate=1),
    images,
  )
  assert {shape[0] for shape in seen} == {at_once}


@pytest.mark.parametrize("windows_at_once", [1, 2, 5, 99])
def test_batches_of_windows_do_not_matter(windows_at_once):
  def mean_net(images):  # Depends on the whole window.
    mean = images.mean((1, 2), keepdims=True)
    return jnp.broadcast_to(mean, images.shape)

  slide = jax.jit(
    lambda images: inference.slide(
      mean_net, images, (5, 6), windows_at_once=windows_at_once
    )
  )
  whole = inference.slide(mean_net, IMAGES, (5, 6), windows_at_once=1)
  np.testing.assert_allclose(slide(IMAGES), whole, rtol=1e-5, atol=1e-6)


def test_overlapping_windows_are_averaged():
  def numbered(images):  # The logit is the window's first pixel.
    return jnp.broadcast_to(images[:, :1, :1, :1], (*images.shape[:3], 1))

  ramp = np.arange(6, dtype=np.float32).reshape(1, 1, 6, 1)
  logits = inference.slide(numbered, ramp, (1, 4), stride_rate=0.5)
  # Windows start at 0 and 2; both cover the pixels 2 and 3.
  np.testing.assert_allclose(logits.ravel(), [0, 0, 1, 1, 2, 2])


def test_scales_are_added_at_the_images_size():
  sizes = [(11, 14), (22, 28)]
  total = inference.sum_scales(_pointwise, jnp.ones((1, 11, 14, 3)), sizes)
  np.testing.assert_allclose(total[..., 0], 6, rtol=1e-5)
  assert total.shape == (1, 11, 14, 2)


def test_no_scale_is_refused():
  with pytest.raises(ValueError, match="at least one"):
    inference.sum_scales(_pointwise, IMAGES, [])


def test_sizes_of_the_published_protocols():
  assert inference.scaled_size((375, 500), 0.5) == (188, 250)
  assert inference.long_side_size((1024, 2048), 1536) == (768, 1536)
  assert inference.long_side_size((61, 47), 64) == (64, 49)
