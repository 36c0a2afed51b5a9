"""Reliable pixels, anchors, keys and prototypes, by an oracle of the paper."""

import functools

import jax
import numpy as np

from tests import held_keys, tiny
from tests.parity import contrast_replay, golden
from u2pl_jax import methods
from u2pl_jax.losses import contrastive
from u2pl_jax.methods import method
from u2pl_jax.methods.u2pl import contrast, memory_bank, partition, selection
from u2pl_jax.ops import percentile

# Small sizes of our own; the files give none.
NUM_ANCHORS, NUM_NEGATIVES, TEMPERATURE = 7, 9, 0.5

RULES = methods.find("u2pl").recipes(method.Published())["paper"]

_entropy = jax.jit(percentile.compute_entropy)
_split = jax.jit(partition.partition_by_entropy, static_argnames="reliable")
_anchors = jax.jit(selection.anchor_mask)
_negatives = jax.jit(
  selection.negative_mask,
  static_argnames=("labeled_negatives", "own_pseudo_label"),
)
_means = jax.jit(contrastive.class_means)


def _assert_equal_but_near(ours, recorded, value, threshold):
  """README, section 12: exact but within 1e-5 of a threshold."""
  near = np.abs(value - threshold) <= 1e-5
  np.testing.assert_array_equal(ours | near, recorded | near)


def _is_class(arrays):
  return arrays["label"][:, None] == np.arange(arrays["logits"].shape[1])


@golden.every_file("paper_selection")
def test_reliable_and_unreliable_pixels(path):
  arrays = golden.load(path)
  entropy, gamma = arrays["entropy"], arrays["gamma_t"]
  ours = _entropy(arrays["logits"])
  np.testing.assert_allclose(ours, entropy, rtol=0, atol=1e-5)
  valid, is_labeled = arrays["label"] != 255, arrays["is_labeled"]
  split = _split(
    ours,
    valid & ~is_labeled,
    drop_percent=100 - arrays["alpha_t"],
    unreliable_percent=arrays["alpha_t"],
    reliable=RULES["semi.reliable"],
  )
  np.testing.assert_allclose(split.unreliable_threshold, gamma, atol=1e-5)
  np.testing.assert_allclose(split.reliable_threshold, gamma, atol=1e-5)
  reliable = split.reliable | (valid & is_labeled)
  _assert_equal_but_near(reliable, arrays["reliable"], entropy, gamma)
  _assert_equal_but_near(split.unreliable, arrays["unreliable"], entropy, gamma)


@golden.every_file("paper_selection")
def test_anchors_keys_and_prototypes(path):
  arrays = golden.load(path)
  probs = np.asarray(jax.nn.softmax(arrays["logits"]))
  is_class, delta = _is_class(arrays), arrays["delta_p"]
  anchors = _anchors(probs, is_class, arrays["reliable"], min_prob=delta)
  _assert_equal_but_near(anchors, arrays["anchor"], probs, delta)
  negatives = _negatives(
    probs,
    is_class,
    arrays["is_labeled"],
    arrays["unreliable"],
    low_rank=arrays["r_l"],
    high_rank=arrays["r_h"],
    max_prob=RULES["contrast.max_negative_prob"],
    labeled_negatives=RULES["contrast.labeled_negatives"],
    own_pseudo_label=RULES["contrast.own_pseudo_label"],
  )
  np.testing.assert_array_equal(negatives, arrays["negative"])
  means = _means(arrays["rep_teacher"], arrays["anchor"])
  np.testing.assert_allclose(means, arrays["prototype"], rtol=0, atol=1e-5)


def _make_options(arrays):
  settings = dict(
    weight=1.0,
    num_anchors=NUM_ANCHORS,
    num_negatives=NUM_NEGATIVES,
    temperature=TEMPERATURE,
    low_rank=int(arrays["r_l"]),
    high_rank=int(arrays["r_h"]),
    min_anchor_prob=float(arrays["delta_p"]),
    max_keys_per_class=len(arrays["logits"]),
  )
  changes = {f"contrast.{name}": value for name, value in settings.items()}
  _, options, _ = tiny.make_options("paper", **changes)
  return options


@functools.partial(jax.jit, static_argnames="options")
def _run(bank, rep, teacher, pixels, options):
  """Loss, gradient with respect to `rep` and bank, with the first draws."""
  bank, plan, _ = contrast_replay.prepare(bank, teacher, pixels, options)
  loss_and_gradient = jax.value_and_grad(contrast.compute_loss)
  return *loss_and_gradient(rep, plan, options), bank


def _numpy_loss(arrays):
  """Float64, from the paper's equations and the recorded selection."""
  rep, teacher = (np.float64(arrays[k]) for k in ("rep", "rep_teacher"))

  def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

  per_class = []
  for anchor, negative in zip(arrays["anchor"].T, arrays["negative"].T):
    pool, bank = rep[anchor], teacher[negative]
    if not len(pool) or not len(bank):
      continue
    positive = teacher[anchor].mean(axis=0)
    for m in range(NUM_ANCHORS):
      ranks = m * NUM_NEGATIVES + np.arange(NUM_NEGATIVES)
      others = [positive, *bank[ranks % len(bank)]]
      similar = [cosine(pool[m % len(pool)], other) for other in others]
      terms = np.exp(np.array(similar) / TEMPERATURE)
      per_class.append(-np.log(terms[0] / terms.sum()))
  present = (_is_class(arrays) & arrays["reliable"][:, None]).any(axis=0)
  # Anchors are as many in every class.
  return np.mean(per_class) if per_class and present.sum() > 1 else 0.0


@golden.every_file("paper_selection")
def test_bank_loss_and_gradient(path):
  arrays = golden.load(path)
  pixels = contrast.Pixels(
    is_class=_is_class(arrays),
    **{k: arrays[k] for k in ("is_labeled", "reliable", "unreliable")},
  )
  count, num_classes = arrays["logits"].shape
  pixels = jax.tree.map(lambda x: x[None], pixels)  # Of one image.
  rep, teacher = arrays["rep"], arrays["rep_teacher"]
  bank = memory_bank.create_memory_bank([count] * num_classes, rep.shape[1])
  probs = jax.nn.softmax(arrays["logits"][None, None])
  outputs = probs, teacher[None, None]
  loss, gradient, bank = _run(
    bank, rep[None, None], outputs, pixels, _make_options(arrays)
  )
  held = held_keys.of_each_class(bank)
  for keys, chosen in zip(held, arrays["negative"].T, strict=True):
    np.testing.assert_array_equal(keys, teacher[chosen])
  expected = _numpy_loss(arrays)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  # Only anchors, the first of each class that has keys, pull.
  first = arrays["anchor"].cumsum(axis=0) <= NUM_ANCHORS
  pull = arrays["anchor"] & first & arrays["negative"].any(axis=0)
  pull &= expected != 0
  has_gradient = np.any(np.asarray(gradient)[0, 0] != 0, axis=1)
  np.testing.assert_array_equal(has_gradient, pull.any(axis=1))
