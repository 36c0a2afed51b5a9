"""Losses of single pixels against hand-worked values and numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.losses import overlap, pixelwise

_ohem = jax.jit(
  jax.value_and_grad(pixelwise.ohem_cross_entropy),
  static_argnames="min_kept",
)
_cross_entropy = jax.jit(jax.value_and_grad(pixelwise.cross_entropy))
_unsupervised_loss = jax.jit(jax.value_and_grad(pixelwise.unsupervised_loss))


def _logits_of(probs):
  return jnp.log(jnp.asarray(probs, jnp.float32))


def _random_case(seed, ignored=0.2):
  rng = np.random.default_rng(seed)
  logits = 2 * rng.normal(size=(2, 9, 11, 6)).astype(np.float32)
  labels = rng.integers(0, 6, (2, 9, 11)).astype(np.int32)
  labels[rng.random(labels.shape) < ignored] = 255
  return logits, labels


def _numpy_true_probs(logits, labels):
  """Probability of the true class of the valid pixels, in float64."""
  logits = logits.astype(np.float64)[labels != 255]
  exponentials = np.exp(logits - logits.max(-1, keepdims=True))
  probs = exponentials / exponentials.sum(-1, keepdims=True)
  return probs[np.arange(len(probs)), labels[labels != 255]]


def _numpy_ohem(logits, labels, threshold, min_kept):
  """(loss, pixels kept), from the rule in words."""
  probs = _numpy_true_probs(logits, labels)
  if 0 < min_kept <= probs.size:
    limit = max(threshold, np.sort(probs)[min_kept - 1])
    probs = probs[probs <= limit]
  return -np.log(probs).mean(), probs.size


def _pixels_with_gradient(gradient):
  return int(np.any(np.asarray(gradient) != 0, axis=-1).sum())


class TestCrossEntropy:
  def test_worked_by_hand_without_the_ignored_pixel(self):
    logits = _logits_of([[[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]])
    labels = jnp.asarray([[[0, 0, 255]]])
    loss, gradient = _cross_entropy(logits, labels)
    np.testing.assert_allclose(loss, 1.5 * np.log(2), rtol=1e-6)
    expected = [[[[-0.25, 0.25], [-0.375, 0.375], [0, 0]]]]
    np.testing.assert_allclose(gradient, expected, atol=1e-7)

  def test_of_every_pixel_is_zero_where_ignored(self):
    logits = _logits_of([[0.5, 0.5], [0.25, 0.75]])
    losses = pixelwise.pixel_cross_entropy(logits, jnp.asarray([255, 1]))
    np.testing.assert_allclose(losses, [0, -np.log(0.75)], rtol=1e-6)

  @pytest.mark.parametrize("seed", range(3))
  def test_equals_numpy(self, seed):
    logits, labels = _random_case(seed)
    loss, _ = _cross_entropy(logits, labels)
    expected = -np.log(_numpy_true_probs(logits, labels)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)

  def test_all_ignored_is_zero_with_zero_gradient(self):
    logits, labels = _random_case(0, ignored=2)
    loss, gradient = _cross_entropy(logits, labels)
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(logits))

  def test_wrong_by_a_huge_logit_stays_finite(self):
    logits = jnp.asarray([[[[1e4, -1e4]]]])
    loss, gradient = _cross_entropy(logits, jnp.asarray([[[1]]]))
    np.testing.assert_allclose(loss, 2e4)
    np.testing.assert_allclose(gradient, [[[[1, -1]]]], atol=1e-6)


class TestMaskedMean:
  def test_skips_nan_outside_the_mask(self):
    mean = pixelwise.masked_mean(
      jnp.asarray([1.0, jnp.nan, 4.0]), jnp.asarray([True, False, True])
    )
    assert mean == 2.5

  def test_of_nothing_is_zero(self):
    assert pixelwise.masked_mean(jnp.ones(3), jnp.zeros(3, bool)) == 0


class TestOhem:
  # Probabilities of the true class: 0.1, 0.4, 0.6, 0.9 and one ignored.
  logits = _logits_of([[[[p, 1 - p] for p in (0.1, 0.4, 0.6, 0.9, 0.2)]]])
  labels = jnp.asarray([[[0, 0, 0, 0, 255]]])

  @pytest.mark.parametrize(
    "threshold, min_kept, kept",
    [
      (0.5, 1, [0.1, 0.4]),
      (0.5, 3, [0.1, 0.4, 0.6]),
      (0.05, 3, [0.1, 0.4, 0.6]),
      (0.7, 3, [0.1, 0.4, 0.6]),
      (0.7, 4, [0.1, 0.4, 0.6, 0.9]),
      (0.5, 5, [0.1, 0.4, 0.6, 0.9]),
      (0.05, 0, [0.1, 0.4, 0.6, 0.9]),
    ],
  )
  def test_worked_by_hand(self, threshold, min_kept, kept):
    loss, gradient = _ohem(
      self.logits, self.labels, threshold=threshold, min_kept=min_kept
    )
    np.testing.assert_allclose(loss, -np.mean(np.log(kept)), rtol=1e-5)
    assert _pixels_with_gradient(gradient) == len(kept)

  def test_no_gradient_flows_through_the_selection(self):
    _, gradient = _ohem(self.logits, self.labels, threshold=0.5, min_kept=1)
    expected = np.zeros((1, 1, 5, 2))
    expected[0, 0, :2] = [[-0.9 / 2, 0.9 / 2], [-0.6 / 2, 0.6 / 2]]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)

  def test_probability_equal_to_the_limit_is_kept(self):
    logits = jnp.zeros((1, 1, 4, 2)).at[0, 0, 3, 0].set(3.0)
    labels = jnp.zeros((1, 1, 4), jnp.int32)
    # Three pixels tie at 0.5: asking for one keeps all three.
    loss, gradient = _ohem(logits, labels, threshold=0.1, min_kept=1)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    assert _pixels_with_gradient(gradient) == 3

  @pytest.mark.parametrize("min_kept", [30, 100, 198])
  @pytest.mark.parametrize("seed", range(3))
  def test_equals_numpy(self, seed, min_kept):
    rng = np.random.default_rng(seed)
    logits, labels = _random_case(seed)
    threshold = float(np.float32(rng.uniform(0.05, 0.9)))
    loss, gradient = _ohem(
      logits, labels, threshold=threshold, min_kept=min_kept
    )
    expected, kept = _numpy_ohem(logits, labels, threshold, min_kept)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert abs(_pixels_with_gradient(gradient) - kept) <= 1

  @pytest.mark.parametrize("min_kept", [0, 30, 198])
  def test_all_ignored_is_zero_with_zero_gradient(self, min_kept):
    logits, labels = _random_case(0, ignored=2)
    loss, gradient = _ohem(logits, labels, threshold=0.7, min_kept=min_kept)
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(logits))


class TestWeights:
  # Of the true class: 1/2, 1/4, 3/4, and one pixel ignored.
  logits = _logits_of([[[[0.5, 0.5], [0.25, 0.75], [0.25, 0.75], [0.9, 0.1]]]])
  labels = jnp.asarray([[[0, 0, 1, 255]]])
  weights = np.float32([1, 6])

  def test_worked_by_hand(self):
    loss = pixelwise.cross_entropy(self.logits, self.labels, self.weights)
    expected = -(np.log(0.5) + np.log(0.25) + 6 * np.log(0.75)) / 8
    np.testing.assert_allclose(loss, expected, rtol=1e-6)

  def test_ohem_weighs_the_hard_pixels(self):
    loss = pixelwise.ohem_cross_entropy(
      self.logits, self.labels, np.float32([1, 3]), threshold=0.1, min_kept=3
    )
    expected = -(np.log(0.5) + np.log(0.25) + 3 * np.log(0.75)) / 5
    np.testing.assert_allclose(loss, expected, rtol=1e-6)

  def test_equal_ones_change_nothing(self):
    logits, labels = _random_case(0)
    same = np.full(6, 2.5, np.float32)
    for loss in (pixelwise.cross_entropy, pixelwise.focal_loss):
      np.testing.assert_allclose(
        loss(logits, labels, same), loss(logits, labels), rtol=1e-6
      )

  def test_where_only_classes_without_weight_are_labeled_it_is_zero(self):
    loss, gradient = _cross_entropy(
      self.logits, self.labels, np.float32([0, 0])
    )
    assert loss == 0
    assert not np.any(gradient)


class TestFocal:
  def test_worked_by_hand_without_the_ignored_pixel(self):
    logits = _logits_of([[[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]])
    labels = jnp.asarray([[[0, 1, 255]]])
    loss = pixelwise.focal_loss(logits, labels, gamma=2.0)
    expected = -(0.25 * np.log(0.5) + 0.0625 * np.log(0.75)) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-6)

  def test_sure_pixels_have_no_gradient_and_none_is_nan(self):
    logits = jnp.asarray([[[[50.0, -50.0], [0.0, 0.0]]]])
    labels = jnp.zeros((1, 1, 2), jnp.int32)
    gradient = jax.grad(pixelwise.focal_loss)(logits, labels, gamma=1.0)
    assert not np.any(gradient[0, 0, 0]) and np.all(np.isfinite(gradient))


class TestUnsupervisedLoss:
  def test_worked_by_hand(self):
    # Of four pixels two are kept, one of the others is ignored: mean of the
    # two times 4 / 2.
    probs = jnp.asarray([[[0.5, 0.5], [0.25, 0.75]], [[0.9, 0.1], [0.4, 0.6]]])
    labels = jnp.asarray([[[0, 0], [1, 255]]])
    kept = jnp.asarray([[[True, True], [False, False]]])
    loss, gradient = _unsupervised_loss(jnp.log(probs)[None], labels, kept)
    np.testing.assert_allclose(loss, 1.5 * np.log(2) * 2, rtol=1e-6)
    expected = [[[[-0.5, 0.5], [-0.75, 0.75]], [[0, 0], [0, 0]]]]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)

  @pytest.mark.parametrize("label", [255, 2])
  def test_nothing_kept_is_zero_with_zero_gradient(self, label):
    logits = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    loss, gradient = _unsupervised_loss(
      logits.astype(np.float32),
      np.full((2, 5, 7), label, np.int32),
      np.zeros((2, 5, 7), bool),
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, 5, 7, 3)))

  @pytest.mark.parametrize("seed", range(4))
  def test_equals_numpy(self, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 8, 9, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (2, 8, 9)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.3] = 255
    kept = (rng.random(labels.shape) < 0.6) & (labels != 255)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -log_probs[kept, labels[kept]]
    expected = losses.mean() * kept.size / kept.sum()
    loss, gradient = _unsupervised_loss(logits, labels, kept)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    has_gradient = np.any(np.asarray(gradient) != 0, axis=-1)
    np.testing.assert_array_equal(has_gradient, kept)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"kind": "dice"}, "loss.kind='dice': expected one of ce, ohem, focal"),
    ({"focal_gamma": 0.5}, "loss.focal_gamma=0.5: must be >= 1"),
    ({"pixel_weight": 0}, "leave no supervised loss; set one of them"),
    ({"ohem_threshold": 1.5}, "loss.ohem_threshold=1.5: must be in"),
    ({"ohem_min_kept": -1}, "loss.ohem_min_kept=-1: must be >= 0"),
  ],
)
def test_settings_out_of_range_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    pixelwise.LossOptions(**changes)


def test_terms_add_up_by_their_weights():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(1, 9, 9, 3)).astype(np.float32)
  labels = rng.integers(0, 3, (1, 9, 9))
  weights = np.float32([1, 2, 3])

  def loss(**changes):
    settings = pixelwise.LossOptions(**changes)
    return pixelwise.make_supervised_loss(settings, weights)(
      {"logits": logits}, labels
    )

  dice = loss(pixel_weight=0, dice_weight=1)
  np.testing.assert_allclose(dice, overlap.dice_loss(logits, labels), rtol=1e-6)
  focal = pixelwise.focal_loss(logits, labels, weights, gamma=3)
  both = loss(kind="focal", focal_gamma=3, pixel_weight=0.5, dice_weight=2)
  np.testing.assert_allclose(both, 0.5 * focal + 2 * dice, rtol=1e-6)


def test_the_auxiliary_prediction_counts_by_its_weight():
  rng = np.random.default_rng(0)
  main, aux = rng.normal(size=(2, 1, 5, 5, 3)).astype(np.float32)
  labels = rng.integers(0, 3, (1, 9, 9))
  loss = pixelwise.make_supervised_loss(pixelwise.LossOptions(aux_weight=0.4))
  both = loss({"logits": main, "aux": aux}, labels)
  alone = [loss({"logits": logits}, labels) for logits in (main, aux)]
  np.testing.assert_allclose(both, alone[0] + 0.4 * alone[1], rtol=1e-6)
