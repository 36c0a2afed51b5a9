"""The contrastive term put together: pixels, bank, draws, InfoNCE."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from u2pl_jax.methods.u2pl import contrast, memory_bank, partition, selection

EDGE_CASES = (
  "ordinary", "all_ignored", "all_labeled_ignored", "one_class",
  "absent_classes", "no_anchor", "no_key", "everything_unreliable",
  "zero_representation",
)  # fmt: skip
TEMPERATURE = 0.5

_label_pixels = jax.jit(
  contrast.label_pixels,
  static_argnames=("size", "num_classes", "label_stacks"),
)


def _options(variant="paper", **changes):
  common = dict(weight=1.0, temperature=TEMPERATURE, min_anchor_prob=0.3)
  _, options, _ = tiny.make_options(
    variant,
    **{f"contrast.{name}": v for name, v in (common | changes).items()},
  )
  return options


@functools.cache
def _make_step(options):
  """step(key, bank, rep, teacher_outputs, pixels), compiled.

  It returns loss, gradient with respect to `rep`, bank and plan.
  """

  @jax.jit
  def step(key, bank, rep, teacher_outputs, pixels):
    bank, plan, _ = contrast.prepare(
      key,
      bank,
      jax.nn.softmax(teacher_outputs["logits"]),
      teacher_outputs["rep"],
      pixels,
      options,
    )
    loss_and_gradient = jax.value_and_grad(contrast.compute_loss)
    loss, gradient = loss_and_gradient(rep, plan, options)
    return loss, gradient, bank, plan

  return step


def _one_hot(labels, num_classes):
  return labels[..., None] == np.arange(num_classes)


@pytest.mark.parametrize(
  "variant, expected",
  [
    ("paper", np.log(1 + 7 * np.exp(-2))),
    ("reference", np.log(1 + 7 * np.exp(-np.sqrt(2))) / 2),
  ],
)
def test_worked_by_hand(variant, expected):
  """All keys that may be drawn are orthogonal to their class's anchor.

  The published code differs in two things: the third pixel, too unlikely of
  class 1 for an anchor, is part of the positive, 45 degrees off the anchor
  then. And class 0, whose key would be the second pixel, a labeled one, has
  none, but counts in the divisor.
  """
  labels = np.array([0, 1, 1, 1])
  probs = np.float32(
    [[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7], [0.3, 0.1, 0.6]]
  )
  is_labeled = np.array([True, True, True, False])
  pixels = contrast.Pixels(
    is_class=_one_hot(labels, 3),
    is_labeled=is_labeled,
    reliable=is_labeled,
    unreliable=~is_labeled,
  )
  # As one image of 2 x 2 pixels.
  pixels = jax.tree.map(lambda x: x[None], pixels)
  rep = np.float32([[2, 0], [0, 1], [5, 5], [5, 5]]).reshape(1, 2, 2, 2)
  teacher = np.float32([[1, 0], [0, 3], [3, 0], [-1, 0]]).reshape(rep.shape)
  outputs = {"logits": np.log(probs).reshape(1, 2, 2, 3), "rep": teacher}
  bank = memory_bank.create_memory_bank([5] * 3, 2)
  step = _make_step(_options(variant, num_negatives=7))
  loss, _, _, _ = step(jax.random.key(0), bank, rep, outputs, pixels)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


def _edge_case(name):
  """(inputs, changed options, whether the loss must be positive)."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(96, 5)).astype(np.float32)
  labels = rng.integers(0, 5, 96)
  is_labeled = np.arange(96) < 48
  rep, rep_teacher = rng.normal(size=(2, 96, 6)).astype(np.float32)
  unreliable = ~is_labeled & (rng.random(96) < 0.7)
  changes, positive = {}, True
  if name == "all_ignored":
    labels[:], positive = 255, False
  elif name == "all_labeled_ignored":
    labels[:48] = 255
  elif name == "one_class":
    labels[:], positive = 2, False
  elif name == "absent_classes":
    labels = rng.choice([1, 4], 96)
  elif name == "no_anchor":
    logits[:], positive = 0, False
  elif name == "no_key":
    unreliable[:], positive = False, False
    changes = {"low_rank": 0}
  elif name == "everything_unreliable":
    unreliable = ~is_labeled
  elif name == "zero_representation":
    rep[:], rep_teacher[:] = 0, 0
  valid = labels != 255
  pixels = contrast.Pixels(
    is_class=_one_hot(labels, 5),
    is_labeled=is_labeled,
    reliable=valid & ~unreliable,
    unreliable=valid & unreliable,
  )
  # As two images of 6 x 8 pixels.
  pixels = jax.tree.map(lambda x: x.reshape(2, 48, *x.shape[1:]), pixels)
  maps = (x.reshape(2, 6, 8, -1) for x in (rep, logits, rep_teacher))
  rep, logits, rep_teacher = maps
  inputs = rep, {"logits": logits, "rep": rep_teacher}, pixels
  return inputs, changes, positive


def _edge_options(variant, **changes):
  sizes = dict(num_anchors=4, num_negatives=6, max_keys_per_class=4)
  ranks = dict(low_rank=1, high_rank=20)  # The high one above K.
  return _options(variant, **(sizes | ranks | changes))


class TestEdgeCases:
  @pytest.mark.parametrize("variant", ["paper", "reference"])
  @pytest.mark.parametrize("name", EDGE_CASES)
  def test_have_a_finite_loss_and_gradient(self, name, variant):
    inputs, changes, positive = _edge_case(name)
    # Far fewer rows and keys per step than there are keys: the bank fills and
    # every step has more keys than the cap.
    step = _make_step(_edge_options(variant, **changes))
    bank = memory_bank.create_memory_bank([5, 3, 3, 3, 3], 6)
    for i in range(3):
      loss, gradient, bank, plan = step(jax.random.key(i), bank, *inputs)
      assert np.isfinite(loss)
      assert np.all(np.isfinite(gradient))
      assert (loss > 0) == positive
      if not positive:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    present = inputs[2].is_class[inputs[2].reliable].any(axis=0)
    np.testing.assert_array_equal(plan.present, present)
    in_use = np.asarray(bank.count)
    # Keys enter the bank whatever the loss of the step.
    assert in_use.any() == (name not in ("all_ignored", "no_key"))
    if name == "ordinary" or (name == "absent_classes" and variant == "paper"):
      np.testing.assert_array_equal(in_use, bank.capacity)

  @pytest.mark.parametrize("which", selection.NEGATIVES)
  def test_new_keys_come_from_the_pixels_that_are_asked_for(self, which):
    inputs, _, _ = _edge_case("ordinary")
    pixels = inputs[2]
    bank = memory_bank.create_memory_bank([5, 3, 3, 3, 3], 6)
    options = _edge_options(
      "paper", negatives=which, use_ranks=False, labeled_negatives=False
    )
    _, _, _, plan = _make_step(options)(jax.random.key(0), bank, *inputs)
    asked_for = {
      "unreliable": pixels.unreliable,
      "reliable": pixels.reliable,
      "all": pixels.unreliable | pixels.reliable,
    }[which]
    expected = ~pixels.is_labeled & asked_for
    found = plan.offered.reshape(2, 48, 5)
    np.testing.assert_array_equal(found, np.stack([expected] * 5, axis=-1))

  def test_weight_scales_loss_and_gradient(self):
    (rep, *others), _, _ = _edge_case("ordinary")
    bank = memory_bank.create_memory_bank([5, 3, 3, 3, 3], 6)
    loss, gradient, _, plan = _make_step(_edge_options("paper"))(
      jax.random.key(0), bank, rep, *others
    )
    quarter_loss, quarter_gradient = jax.value_and_grad(contrast.compute_loss)(
      rep, plan, _edge_options("paper", weight=0.25)
    )
    np.testing.assert_allclose(quarter_loss, loss / 4, rtol=1e-5)
    np.testing.assert_allclose(quarter_gradient, gradient / 4, atol=1e-7)


def _make_partition(reliable, unreliable):
  threshold = jnp.zeros(())
  return partition.Partition(
    ~reliable, reliable, unreliable, threshold, threshold, threshold
  )


class TestLabelPixels:
  @pytest.mark.parametrize("stack", [1, 2])
  def test_equal_numpy(self, stack):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 9, 14)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.2] = 255
    masks = rng.random((2, 2, 9, 14)) < 0.5
    split = _make_partition(*masks)
    pixels = _label_pixels(
      labels[:4],
      labels[4:],
      split,
      (3, 4),
      num_classes=5,
      label_stacks=(stack,) * 2,
    )

    picked = np.ix_([0, 3, 6], [0, 3, 7, 10])
    small = labels[:, *picked]
    small_masks = masks[:, :, *picked].reshape(2, 2, 12)
    is_class = selection.class_membership(small, 5, stack)
    is_class, small = is_class.reshape(6, 12, 5), small.reshape(6, 12)
    reliable = np.append(small[:4] != 255, small_masks[0], axis=0)
    unreliable = np.append(np.zeros((4, 12), bool), small_masks[1], axis=0)
    order = [0, 1, 4, 2, 3, 5]  # Four labeled, two unlabeled images, joined.
    np.testing.assert_array_equal(pixels.is_class, is_class[np.array(order)])
    np.testing.assert_array_equal(
      pixels.is_labeled[:, 0], [True, True, False] * 2
    )
    np.testing.assert_array_equal(pixels.reliable, reliable[order])
    np.testing.assert_array_equal(pixels.unreliable, unreliable[order])

  @pytest.mark.parametrize("sizes", [(4, 6), (6, 4)])
  def test_need_batches_of_whole_stacks(self, sizes):
    labels_l, labels_u = (np.zeros((n, 9, 14), np.int32) for n in sizes)
    split = _make_partition(labels_u == 0, labels_u != 0)
    with pytest.raises(ValueError, match="label_stack=4.*batch of 6 images"):
      contrast.label_pixels(
        labels_l, labels_u, split, (3, 4), num_classes=5, label_stacks=(4, 4)
      )


class TestContrastOptions:
  @pytest.mark.parametrize(
    "changes, message",
    [
      ({"low_rank": 3, "high_rank": 3}, "low_rank=3, contrast.high_rank=3"),
      ({"low_rank": -1}, "low_rank=-1.*0 <= low_rank < high_rank"),
      ({"num_anchors": 0}, "num_anchors=0: must be >= 1"),
      ({"num_negatives": 0}, "num_negatives=0: must be >= 1"),
      ({"max_keys_per_class": 0}, "max_keys_per_class=0: must be >= 1"),
      ({"label_stack": 0}, "label_stack=0: must be >= 1"),
      ({"temperature": 0.0}, "temperature=0.0: must be > 0"),
      ({"positive": "all"}, "positive='all'.*anchors, reliable"),
      ({"negatives": "sure"}, "negatives='sure'.*unreliable, reliable, all"),
      (
        {"use_ranks": False, "own_pseudo_label": True},
        "use_ranks=False, contrast.own_pseudo_label=True",
      ),
    ],
  )
  def test_refuse_what_is_out_of_range(self, changes, message):
    with pytest.raises(ValueError, match=message):
      _options(**changes)

  def test_refuse_too_few_classes_for_the_low_rank(self):
    parts = tiny.make_parts(tiny.make_model(num_classes=3))
    with pytest.raises(ValueError, match="contrast.low_rank=3 with 3 classes"):
      _options(low_rank=3).check_run(parts)
    _options(low_rank=3, use_ranks=False).check_run(parts)

  def test_accept_fewer_classes_than_the_high_rank(self):
    parts = tiny.make_parts(tiny.make_model(num_classes=4))
    _options(low_rank=3, high_rank=20).check_run(parts)
