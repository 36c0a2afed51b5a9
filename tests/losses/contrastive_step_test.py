"""The contrastive loss put together: selection, bank, draws, InfoNCE.

The composition is the one that `train_step` makes; here it runs with the
deterministic draws of the recorded files, or with the real ones.
"""

import collections
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_files
from u2pl_jax import memory_bank, sampling
from u2pl_jax.losses import contrastive

Pixels = collections.namedtuple(
  "Pixels", "rep rep_teacher probs labels is_labeled reliable unreliable"
)
MIN_PROB, TEMPERATURE = 0.3, 0.5


def _first_ones(count, size):
  """0, 1, 2, ... modulo the count, [K, size]; 0 where the count is 0."""
  return jnp.arange(size)[None, :] % jnp.maximum(count, 1)[:, None]


def _step(
  rep, pixels, bank, key, *, variant, low_rank, high_rank, anchors, negatives,
  cap=None, divide_by=None, paper_keys=None,
):  # fmt: skip
  """(loss, new bank); `key` None for the recorded files' draws."""
  paper = variant == "paper"
  paper_keys = paper if paper_keys is None else paper_keys
  keys_mask = contrastive.negative_mask(
    pixels.probs,
    pixels.labels,
    pixels.is_labeled,
    pixels.unreliable,
    low_rank=low_rank,
    high_rank=high_rank,
    max_prob=2.0 if paper else 1.0,
    labeled_negatives=paper_keys,
    own_pseudo_label=not paper_keys,
  )
  anchor_mask = contrastive.anchor_mask(
    pixels.probs, pixels.labels, pixels.reliable, min_prob=MIN_PROB
  )
  members = contrastive.class_pixels(
    pixels.labels, pixels.reliable, pixels.probs.shape[1]
  )
  key_count, anchor_count = keys_mask.sum(axis=0), anchor_mask.sum(axis=0)
  streams = jax.random.split(jax.random.key(0) if key is None else key, 3)
  cap = len(rep) if cap is None else cap
  ranks, valid = sampling.spread_ranks(streams[0], key_count, cap)
  bank = memory_bank.push(
    bank, sampling.select_rows(pixels.rep_teacher, keys_mask, ranks), valid
  )
  if key is None:
    anchor_ranks = _first_ones(anchor_count, anchors)
    ages = _first_ones(bank.count, anchors * negatives)
    drawn = memory_bank.take(bank, ages.reshape(-1, anchors, negatives))
  else:
    anchor_ranks = sampling.draw_ranks(streams[1], anchor_count, (anchors,))
    drawn = memory_bank.sample(bank, streams[2], (anchors, negatives))
  per_class = contrastive.info_nce(
    sampling.select_rows(rep, anchor_mask, anchor_ranks),
    contrastive.class_means(
      pixels.rep_teacher, anchor_mask if paper else members
    ),
    drawn,
    temperature=TEMPERATURE,
  )
  loss = contrastive.mean_over_classes(
    per_class,
    (anchor_count > 0) & (bank.count > 0),
    members.any(axis=0),
    divide_by="contributing" if paper else "present",
  )
  return loss, bank


_loss_and_gradient = jax.jit(
  jax.value_and_grad(_step, has_aux=True),
  static_argnames=("variant", "anchors", "negatives", "cap", "paper_keys"),
)


def _golden_pixels(golden, call=""):
  def flat(name):
    array = golden_files.channels_last(golden[call + name])
    return jnp.asarray(array.reshape(-1, array.shape[-1]))

  labels = golden[call + "label_small"]
  image = np.repeat(np.arange(len(labels)), labels[0].size)
  return Pixels(
    flat("rep"),
    flat("rep_teacher"),
    flat("prob"),
    jnp.asarray(labels.reshape(-1)),
    jnp.asarray(image < golden[call + "num_labeled"]),
    flat("low_mask")[:, 0] > 0,
    flat("high_mask")[:, 0] > 0,
  )


def _golden_arguments(golden):
  config = json.loads(str(golden["config_json"]))
  return {
    "low_rank": config["low_rank"],
    "high_rank": config["high_rank"],
    "anchors": config["num_queries"],
    "negatives": config["num_negatives"],
  }


def _held(bank):
  longest = max(bank.capacity)
  ages = np.broadcast_to(np.arange(longest), (len(bank.capacity), longest))
  keys = np.asarray(jax.jit(memory_bank.take)(bank, ages))
  counts = np.asarray(bank.count)
  return np.concatenate([k[:n] for k, n in zip(keys, counts, strict=True)])


@pytest.mark.parametrize(
  "name, calls", [("A_c5_allpresent", 5), ("B_c5_absent", 2)]
)
def test_equals_the_published_code_call_after_call(name, calls):
  golden = golden_files.load(f"contra_{name}")
  bank = memory_bank.create_memory_bank(golden["queue_size"], 16)
  for i in range(1, calls + 1):
    call = f"call{i}/"
    pixels = _golden_pixels(golden, call)
    (loss, bank), gradient = _loss_and_gradient(
      pixels.rep,
      pixels,
      bank,
      None,
      variant="reference",
      **_golden_arguments(golden),
    )
    recorded = golden[call + "loss_corrected"]
    np.testing.assert_allclose(loss, recorded, rtol=1e-5)
    recorded = golden_files.channels_last(golden[call + "grad_rep_corrected"])
    np.testing.assert_allclose(gradient, recorded.reshape(-1, 16), atol=1e-6)
    np.testing.assert_array_equal(bank.count, golden[call + "queue_length"])
    if f"queue_after_call{i}" in golden:
      held = golden[f"queue_after_call{i}"]
      np.testing.assert_array_equal(_held(bank), held)


@pytest.mark.parametrize(
  "name, calls", [("A_c5_allpresent", 5), ("B_c5_absent", 2)]
)
def test_equals_the_recorded_loss_with_keys_by_the_papers_rules(name, calls):
  golden = golden_files.load(f"contra_{name}")
  bank = memory_bank.create_memory_bank(golden["queue_size"], 16)
  for i in range(1, calls + 1):
    pixels = _golden_pixels(golden, f"call{i}/")
    (loss, bank), _ = _loss_and_gradient(
      pixels.rep,
      pixels,
      bank,
      None,
      variant="reference",
      paper_keys=True,
      **_golden_arguments(golden),
    )
    recorded = golden[f"call{i}/loss_corrected_paper_negatives"]
    np.testing.assert_allclose(loss, recorded, rtol=1e-5)


def test_random_draws_have_the_mean_and_spread_of_the_published_code():
  golden = golden_files.load("contra_stat_c5")
  pixels = _golden_pixels(golden)
  # As good as the published 50,000: no class has that many keys here.
  bank = memory_bank.create_memory_bank([700] * 5, 16)
  draw = functools.partial(
    _step, variant="reference", **_golden_arguments(golden)
  )
  losses, _ = jax.jit(
    lambda keys: jax.lax.map(
      lambda key: draw(pixels.rep, pixels, bank, key), keys
    )
  )(jax.random.split(jax.random.key(0), 400))
  deviation = golden["loss_corrected_std"]
  standard_error = deviation * np.sqrt(2 / 400)
  assert abs(np.mean(losses) - golden["loss_corrected_mean"]) < (
    4 * standard_error
  )
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
def test_the_papers_variant_equals_numpy(case):
  golden = golden_files.load(f"paper_selection_{case}")
  pixels = Pixels(
    golden["rep"],
    golden["rep_teacher"],
    jax.nn.softmax(golden["logits"]),
    *(golden[k] for k in ("label", "is_labeled", "reliable", "unreliable")),
  )
  num_classes = golden["logits"].shape[1]
  bank = memory_bank.create_memory_bank(
    [len(golden["label"])] * num_classes, golden["rep"].shape[1]
  )
  (loss, _), gradient = _loss_and_gradient(
    pixels.rep,
    pixels,
    bank,
    None,
    variant="paper",
    low_rank=golden["r_l"],
    high_rank=golden["r_h"],
    anchors=7,
    negatives=9,
  )
  np.testing.assert_allclose(loss, _numpy_paper_loss(golden, 7, 9), rtol=1e-5)
  # Only anchors, the first seven of each class, pull.
  expected = golden["anchor"] & (golden["anchor"].cumsum(axis=0) <= 7)
  has_gradient = np.any(np.asarray(gradient) != 0, axis=1)
  np.testing.assert_array_equal(has_gradient, expected.any(axis=1))


def _edge_case(name):
  """(pixels, arguments, whether the loss must be positive)."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(96, 5))
  labels = rng.integers(0, 5, 96)
  is_labeled = np.arange(96) < 48
  probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  rep, rep_teacher = rng.normal(size=(2, 96, 6)).astype(np.float32)
  unreliable = ~is_labeled & (rng.random(96) < 0.7)
  ranks = {"low_rank": 1, "high_rank": 20}  # K < r_h everywhere
  positive = True
  if name == "all_ignored":
    labels[:], positive = 255, False
  elif name == "all_labeled_ignored":
    labels[:48] = 255
  elif name == "one_class":
    labels[:], positive = 2, False
  elif name == "absent_classes":
    labels = rng.choice([1, 4], 96)
  elif name == "no_anchor":
    probs, positive = np.full((96, 5), 0.2), False
  elif name == "no_key":
    unreliable[:], positive = False, False
    ranks["low_rank"] = 0
  elif name == "everything_unreliable":
    unreliable = ~is_labeled
  elif name == "zero_representation":
    rep[:], rep_teacher[:] = 0, 0
  valid = labels != 255
  pixels = Pixels(
    rep,
    rep_teacher,
    probs.astype(np.float32),
    labels.astype(np.int32),
    is_labeled,
    valid & ~unreliable,
    valid & unreliable,
  )
  return pixels, ranks, positive


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize(
  "name",
  [
    "ordinary",
    "all_ignored",
    "all_labeled_ignored",
    "one_class",
    "absent_classes",
    "no_anchor",
    "no_key",
    "everything_unreliable",
    "zero_representation",
  ],
)
def test_edge_cases_have_a_finite_loss_and_gradient(name, variant):
  pixels, ranks, positive = _edge_case(name)
  # Far fewer rows and keys per step than there are keys: the bank fills and
  # every step has more keys than the cap.
  bank = memory_bank.create_memory_bank([5, 3, 3, 3, 3], 6)
  for i in range(3):
    (loss, bank), gradient = _loss_and_gradient(
      pixels.rep,
      pixels,
      bank,
      jax.random.key(i),
      variant=variant,
      anchors=4,
      negatives=6,
      cap=4,
      **ranks,
    )
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))
    assert (loss > 0) == positive
    if not positive:
      np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
  in_use = np.asarray(bank.count)
  # Keys enter the bank whatever the loss of the step.
  assert in_use.any() == (name not in ("all_ignored", "no_key"))
  if name == "ordinary" or (name == "absent_classes" and variant == "paper"):
    np.testing.assert_array_equal(in_use, bank.capacity)
