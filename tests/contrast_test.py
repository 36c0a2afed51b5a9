"""The contrastive term put together: pixels, bank, draws, InfoNCE."""

import functools
import json
import math
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_files, tiny
from u2pl_jax import contrast, memory_bank, partition, sampling
from u2pl_jax.losses import contrastive

# For each file, how many calls of it are kept.
CALLS = [("A_c5_allpresent", 5), ("B_c5_absent", 2)]
EDGE_CASES = (
  "ordinary", "all_ignored", "all_labeled_ignored", "one_class",
  "absent_classes", "no_anchor", "no_key", "everything_unreliable",
  "zero_representation",
)  # fmt: skip
TEMPERATURE = 0.5

_label_pixels = jax.jit(
  contrast.label_pixels, static_argnames=("size", "options")
)


def _options(variant="paper", **changes):
  common = dict(weight=1.0, temperature=TEMPERATURE, min_anchor_prob=0.3)
  return tiny.make_contrast_options(variant, **(common | changes))


def _golden_options(golden, **changes):
  """Of the published code, as recorded, with the bank as the only limit."""
  config = json.loads(str(golden["config_json"]))
  settings = dict(
    num_classes=int(golden["num_classes"]),
    num_anchors=config["num_queries"],
    num_negatives=config["num_negatives"],
    low_rank=config["low_rank"],
    high_rank=config["high_rank"],
    temperature=config["temperature"],
    min_anchor_prob=config["current_class_threshold"],
    max_negative_prob=config["current_class_negative_threshold"],
    max_keys_per_class=1000,  # More than pixels.
  )
  return _options("reference", **(settings | changes))


def _first_ones(key, count, shape):
  """The draws of the recorded files: 0, 1, 2, ... modulo the count."""
  del key
  ranks = jnp.arange(math.prod(shape), dtype=jnp.int32).reshape(1, *shape)
  return ranks % jnp.maximum(count, 1).reshape(-1, *(1 for _ in shape))


@functools.cache
def _make_step(options, draw_ranks=sampling.draw_ranks):
  """step(key, bank, rep, teacher_outputs, pixels), compiled.

  It returns loss, gradient with respect to `rep`, bank and plan.
  """

  @jax.jit
  def step(key, bank, rep, teacher_outputs, pixels):
    # In here, so that it holds while this function is traced and only then.
    with mock.patch.object(sampling, "draw_ranks", draw_ranks):
      bank, plan = contrast.prepare(key, bank, teacher_outputs, pixels, options)
      loss_and_gradient = jax.value_and_grad(contrast.compute_loss)
      loss, gradient = loss_and_gradient(rep, plan, options)
    return loss, gradient, bank, plan

  return step


def _one_hot(labels, num_classes):
  return labels[..., None] == np.arange(num_classes)


def _golden_inputs(recorded):
  """rep, teacher_outputs and pixels of a recorded call."""
  rep, rep_teacher, probs = (
    golden_files.channels_last(recorded[name])
    for name in ("rep", "rep_teacher", "prob")
  )
  labels = recorded["label_small"]
  image = np.repeat(np.arange(len(labels)), labels[0].size)
  pixels = contrast.Pixels(
    is_class=_one_hot(labels.reshape(-1), probs.shape[-1]),
    is_labeled=image < recorded["num_labeled"],
    reliable=recorded["low_mask"].reshape(-1) > 0,
    unreliable=recorded["high_mask"].reshape(-1) > 0,
  )
  # The logarithm, so that the softmax gives the recorded probabilities back.
  return rep, {"logits": jnp.log(probs), "rep": rep_teacher}, pixels


def _held(bank):
  """All keys, class by class, each class's oldest first."""
  longest = max(bank.capacity)
  ages = np.broadcast_to(np.arange(longest), (len(bank.capacity), longest))
  keys = np.asarray(jax.jit(memory_bank.take)(bank, ages))
  counts = np.asarray(bank.count)
  return np.concatenate([k[:n] for k, n in zip(keys, counts, strict=True)])


def _golden_calls(name, calls, **changes):
  """Yields a call's recorded arrays and what `step` makes of its input."""
  golden = golden_files.load(f"contra_{name}")
  step = _make_step(_golden_options(golden, **changes), _first_ones)
  bank = memory_bank.create_memory_bank(golden["queue_size"], 16)
  for i in range(1, calls + 1):
    recorded = {
      key.removeprefix(f"call{i}/"): value
      for key, value in golden.items()
      if key.startswith(f"call{i}/")
    }
    recorded["held"] = golden.get(f"queue_after_call{i}")
    results = step(jax.random.key(0), bank, *_golden_inputs(recorded))
    bank = results[2]
    yield recorded, *results


class TestPublishedCode:
  @pytest.mark.parametrize("name, calls", CALLS)
  def test_has_our_loss_gradient_and_bank_call_after_call(self, name, calls):
    for recorded, loss, gradient, bank, _ in _golden_calls(name, calls):
      np.testing.assert_allclose(loss, recorded["loss_corrected"], rtol=1e-5)
      expected = golden_files.channels_last(recorded["grad_rep_corrected"])
      np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6)
      np.testing.assert_array_equal(bank.count, recorded["queue_length"])
      if recorded["held"] is not None:
        np.testing.assert_array_equal(_held(bank), recorded["held"])

  @pytest.mark.parametrize("name, calls", CALLS)
  def test_has_our_anchors_positives_and_keys(self, name, calls):
    for recorded, _, _, _, plan in _golden_calls(name, calls):
      anchors = recorded["anchor_count"]
      np.testing.assert_array_equal(plan.anchors.sum(axis=0), anchors)
      np.testing.assert_array_equal(plan.metrics["contrast/anchors"], anchors)
      new_keys = recorded["negative_count"].sum()
      assert plan.metrics["contrast/new_keys"] == new_keys
      used = recorded["used_class_corrected"]
      np.testing.assert_array_equal(np.flatnonzero(plan.contributes), used)
      assert plan.metrics["contrast/classes"] == len(used)
      present = recorded["valid_classes"]
      np.testing.assert_array_equal(np.flatnonzero(plan.present), present)
      expected = recorded["prototype"][present]
      np.testing.assert_allclose(plan.positives[present], expected, atol=1e-6)

  @pytest.mark.parametrize("name, calls", CALLS)
  def test_has_our_loss_with_keys_by_the_papers_rules(self, name, calls):
    rules = dict(labeled_negatives=True, own_pseudo_label=False)
    for recorded, loss, _, _, plan in _golden_calls(name, calls, **rules):
      expected = recorded["loss_corrected_paper_negatives"]
      np.testing.assert_allclose(loss, expected, rtol=1e-5)
      parts = (f"negative_count_paper_{x}" for x in ("labeled", "unlabeled"))
      new_keys = sum(recorded[part].sum() for part in parts)
      assert plan.metrics["contrast/new_keys"] == new_keys

  def test_has_the_mean_and_spread_of_our_random_draws(self):
    golden = golden_files.load("contra_stat_c5")
    step = _make_step(_golden_options(golden))
    inputs = _golden_inputs(golden)
    # As good as the published 50,000: no class has that many keys here.
    bank = memory_bank.create_memory_bank([700] * 5, 16)
    losses = jax.jit(
      lambda keys: jax.lax.map(lambda key: step(key, bank, *inputs)[0], keys)
    )(jax.random.split(jax.random.key(0), 400))
    deviation = golden["loss_corrected_std"]
    error = np.mean(losses) - golden["loss_corrected_mean"]
    assert abs(error) < 4 * deviation * np.sqrt(2 / 400)
    assert abs(np.std(losses) - deviation) < 0.2 * deviation


def _numpy_paper_loss(golden, anchors, negatives):
  """Float64, from the paper's equations and the recorded selection."""
  rep, teacher = (
    golden[name].astype(np.float64) for name in ("rep", "rep_teacher")
  )

  def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

  per_class = []
  for c in range(golden["anchor"].shape[1]):
    pool, bank = rep[golden["anchor"][:, c]], teacher[golden["negative"][:, c]]
    if not len(pool) or not len(bank):
      continue
    positive = teacher[golden["anchor"][:, c]].mean(axis=0)
    losses = []
    for m in range(anchors):
      anchor = pool[m % len(pool)]
      keys = [bank[(m * negatives + n) % len(bank)] for n in range(negatives)]
      similar = np.array([cosine(anchor, v) for v in [positive, *keys]])
      terms = np.exp(similar / TEMPERATURE)
      losses.append(-np.log(terms[0] / terms.sum()))
    per_class.append(np.mean(losses))
  return np.mean(per_class)


@pytest.mark.parametrize("case", ["two", "absent"])
def test_the_papers_loss_equals_numpy(case):
  golden = golden_files.load(f"paper_selection_{case}")
  count, num_classes = golden["logits"].shape
  options = _options(
    num_classes=num_classes,
    num_anchors=7,
    num_negatives=9,
    low_rank=int(golden["r_l"]),
    high_rank=int(golden["r_h"]),
    min_anchor_prob=float(golden["delta_p"]),
    max_keys_per_class=count,
  )
  teacher_outputs = {"logits": golden["logits"], "rep": golden["rep_teacher"]}
  pixels = contrast.Pixels(
    is_class=_one_hot(golden["label"], num_classes),
    **{k: golden[k] for k in ("is_labeled", "reliable", "unreliable")},
  )
  rep = golden["rep"]
  bank = memory_bank.create_memory_bank([count] * num_classes, rep.shape[1])
  loss, gradient, _, _ = _make_step(options, _first_ones)(
    jax.random.key(0), bank, rep, teacher_outputs, pixels
  )
  np.testing.assert_allclose(loss, _numpy_paper_loss(golden, 7, 9), rtol=1e-5)
  # Only anchors, the first seven of each class, pull.
  expected = golden["anchor"] & (golden["anchor"].cumsum(axis=0) <= 7)
  has_gradient = np.any(np.asarray(gradient) != 0, axis=1)
  np.testing.assert_array_equal(has_gradient, expected.any(axis=1))


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
    split, options = _make_partition(*masks), _options(label_stack=stack)
    pixels = _label_pixels(labels[:4], labels[4:], split, (3, 4), options)

    picked = np.ix_([0, 3, 6], [0, 3, 7, 10])
    small, small_masks = labels[:, *picked], masks[:, :, *picked]
    is_class = contrastive.class_membership(small, 5, stack).reshape(-1, 5)
    np.testing.assert_array_equal(pixels.is_class, is_class)
    is_labeled = np.arange(72) < 48  # Four of the six images.
    np.testing.assert_array_equal(pixels.is_labeled, is_labeled)
    reliable = np.append(small[:4] != 255, small_masks[0])
    np.testing.assert_array_equal(pixels.reliable, reliable)
    unreliable = np.append(np.zeros(48, bool), small_masks[1])
    np.testing.assert_array_equal(pixels.unreliable, unreliable)

  @pytest.mark.parametrize("epoch", [0, 20, 40, 60, 79])
  def test_equal_the_published_code(self, epoch):
    golden = golden_files.load("partition_c21_65x49")
    labels_l, labels_u = golden["label_l"], golden["label_u_aug"]
    low, high = (
      golden_files.unpack_mask(
        golden[f"epoch{epoch}/{name}_entropy_mask_large"], labels_u.shape
      )
      for name in ("low", "high")
    )
    options = _options("reference", num_classes=21, label_stack=2)
    pixels = _label_pixels(
      labels_l, labels_u, _make_partition(low, high), (17, 13), options
    )
    is_class = [golden[f"label_{x}_small_onehot"] for x in ("l", "u")]
    is_class = golden_files.channels_last(np.concatenate(is_class)) > 0
    np.testing.assert_array_equal(pixels.is_class, is_class.reshape(-1, 21))
    reliable = golden[f"epoch{epoch}/low_mask_small"].reshape(-1) > 0
    np.testing.assert_array_equal(pixels.reliable, reliable)
    # Labelled pixels, recorded as well, are never read.
    unreliable = golden[f"epoch{epoch}/high_mask_small"].reshape(-1) > 0
    unreliable &= ~np.asarray(pixels.is_labeled)
    np.testing.assert_array_equal(pixels.unreliable, unreliable)

  @pytest.mark.parametrize("sizes", [(4, 6), (6, 4)])
  def test_need_batches_of_whole_stacks(self, sizes):
    labels_l, labels_u = (np.zeros((n, 9, 14), np.int32) for n in sizes)
    split = _make_partition(labels_u == 0, labels_u != 0)
    options = _options(label_stack=4)
    with pytest.raises(ValueError, match="label_stack=4.*batch of 6 images"):
      contrast.label_pixels(labels_l, labels_u, split, (3, 4), options)


class TestContrastOptions:
  @pytest.mark.parametrize(
    "changes, message",
    [
      ({"low_rank": 5}, "low_rank=5 with 5 classes"),
      ({"low_rank": 3, "high_rank": 3}, "low_rank=3, contrast.high_rank=3"),
      ({"low_rank": -1}, "low_rank=-1.*0 <= low_rank < high_rank"),
      ({"num_anchors": 0}, "num_anchors=0: must be >= 1"),
      ({"num_negatives": 0}, "num_negatives=0: must be >= 1"),
      ({"max_keys_per_class": 0}, "max_keys_per_class=0: must be >= 1"),
      ({"label_stack": 0}, "label_stack=0: must be >= 1"),
      ({"temperature": 0.0}, "temperature=0.0: must be positive"),
      ({"positive": "all"}, "positive='all'.*'anchors', 'reliable'"),
    ],
  )
  def test_refuse_what_is_out_of_range(self, changes, message):
    with pytest.raises(ValueError, match=message):
      _options(**changes)

  def test_accept_fewer_classes_than_the_high_rank(self):
    assert _options(num_classes=4, low_rank=3, high_rank=20).high_rank == 20
