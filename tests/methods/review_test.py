"""What each method says that it taught, against a recount of its own.

The recount is numpy on a recorded step: which image a pixel that the student
saw comes from is told by its color, and the pseudo-label is the largest logit
of that image.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.methods.consistency import settings_test
from tests.methods.u2pl_ael import method_test as ael
from tests.parity import unimatch_networks
from u2pl_jax.losses import pixelwise
from u2pl_jax.models import forward
from u2pl_jax.ops import resize
from u2pl_jax.training import train_step

KEY = jax.random.key(7)
THRESHOLD = 0.36  # Of three classes.
# Strong views keep their colors, and every image has a box.
PLAIN = {
  "views__jitter_prob": 0.0,
  "views__gray_prob": 0.0,
  "views__blur_prob": 0.0,
  "views__box_prob": 1.0,
  "consistency__threshold": THRESHOLD,
}


def record(phase):
  """The phase's method, whose metrics hold what the student saw and made."""
  usual = phase.method

  def observe(memory, outputs, lesson):
    seen, after, metrics = usual.observe(memory, outputs, lesson)
    views = [view.images for view in lesson.views]
    recorded = {"views": views, "outputs": outputs, "targets": seen.targets}
    return seen, after, metrics | {"recorded": recorded}

  return usual._replace(observe=observe)


def run_step(model, phase, state, batch, *, key=KEY, tx=None):
  """Metrics of a step, and what `record` recorded, as numpy."""
  tx = tx or tiny.make_tx()
  step = jax.jit(train_step.make_step(model, tx, record(phase)))
  _, metrics = jax.device_get(step(state, batch, key))
  return metrics, metrics.pop("recorded")


def comes_from(view, model, images):
  """Which of the images each pixel of a view shows, [B, H, W]."""
  shown = [np.asarray(model.normalize(jnp.asarray(each))) for each in images]
  far = [np.abs(view - each).max(-1) for each in shown]
  assert np.min(far, axis=0).max() < 1e-3  # Every pixel is of one of them.
  return np.argmin(far, axis=0)


def fill_boxes(source):
  """Also where both images happen to have one color."""
  rows, columns = source.any(2), source.any(1)
  return rows[:, :, None] & columns[:, None, :]


def pick(source, arrays):
  return np.where(source == 0, *arrays)


def assert_recounted(metrics, views, negatives=None, num_classes=3):
  """Counts [(taught labels, truth)] of all views, pixel by pixel."""
  known = np.concatenate([t[t != 255] for _, t in views])
  pairs = np.concatenate(
    [np.stack([p, t])[:, (p != 255) & (t != 255)] for p, t in views], axis=1
  )
  assert 0 < pairs.shape[1] < len(known)  # Or else it tells nothing.
  share, accuracy = metrics["taught/share"], metrics["taught/accuracy"]
  assert (share.part, share.whole) == (pairs.shape[1], len(known))
  assert accuracy.part == sum(a == b for a, b in pairs.T)
  assert accuracy.whole == pairs.shape[1]
  for c in range(num_classes):
    taught = metrics["taught_share"]
    assert taught.part[c] == (pairs[1] == c).sum()
    assert taught.whole[c] == (known == c).sum()
    right = metrics["taught_accuracy"]
    assert right.part[c] == ((pairs[0] == c) & (pairs[1] == c)).sum()
    assert right.whole[c] == (pairs[0] == c).sum()
  assert ("negative_purity" in metrics) == (negatives is not None)
  if negatives is not None:
    offered, truth = negatives
    purity = metrics["negative_purity"]
    for c in range(num_classes):
      known = truth[offered[..., c] & (truth != 255)]
      assert purity.whole[c] == len(known)
      assert purity.part[c] == (known != c).sum()
    assert purity.whole.sum() > purity.part.sum() > 0


def shrink(labels, size):
  """By nearest neighbor, sizes that divide nothing."""
  rows, columns = (
    np.floor(np.arange(n) * np.float32(m / n)).astype(int)
    for m, n in zip(labels.shape[1:], size, strict=True)
  )
  return labels[:, rows][:, :, columns]


def eval_labels(model, variables, images):
  """Labels and their probabilities by the network in eval mode, full size."""
  net = forward.make_net(model, variables)
  return of_logits(net(model.normalize(jnp.asarray(images))))


def of_logits(logits):
  probs = np.asarray(jax.nn.softmax(logits))
  return probs.argmax(-1), probs.max(-1)


def reverse(array, groups):
  parts = np.split(np.asarray(array), groups)
  return np.concatenate([part[::-1] for part in parts])


SLOW = pytest.mark.slow


def assert_no_bit_changes(model, phase, state, batch, accumulate_steps=1):
  """An update is the same without the truth, with it, and with another one."""
  tx = tiny.make_tx()
  step = tiny.make_step(model, tx, phase, accumulate_steps=accumulate_steps)
  names = [name for name in batch if name.startswith("label_u")]
  plain = {name: batch[name] for name in batch if name not in names}
  other = batch | {name: 0 * batch[name] for name in names}
  expected, metrics = step(state, plain, KEY)
  for each in (batch, other):
    after, found = step(state, each, KEY)
    jax.tree.map(np.testing.assert_array_equal, after, expected)
    for name, value in metrics.items():
      np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert "taught/accuracy" in found.keys() - metrics.keys()


@SLOW
@pytest.mark.parametrize("parts", [1, 2])
def test_the_truth_changes_no_bit_of_u2pl(parts):
  model, tx = tiny.make_model(), tiny.make_tx()
  size = {"batch_size": 2 * parts}
  of_run = tiny.make_parts(model, accumulate_steps=parts, **size)
  (phase,) = tiny.make_phases(
    model, parts=of_run, **{"semi.supervised_epochs": 0}
  )
  state = tiny.make_state(model, tx, (phase,))
  batch = tiny.make_batch(**size)
  batch["label_u"] = tiny.make_batch(5, **size)["label_l"]
  assert_no_bit_changes(model, phase, state, batch, parts)


@SLOW
def test_the_truth_changes_no_bit_of_u2pl_with_ael():
  model, tx = ael.model_and_tx()
  (phase,) = ael.make_phases(**{"semi.supervised_epochs": 0})
  state = tiny.make_state(model, tx, (phase,))
  batch = ael.make_batch(state)
  for seed, name in enumerate(("label_u", "label_u2")):
    batch[name] = tiny.make_batch(seed)["label_l"]
  assert_no_bit_changes(model, phase, state, batch)


@pytest.mark.parametrize(
  "name",
  [
    "fixmatch",
    *(pytest.param(n, marks=SLOW) for n in ("unimatch", "unimatch_v2")),
  ],
)
def test_the_truth_changes_no_bit_of_consistency(name):
  model, phase, state = make_consistent(name, 2)
  batch = without_second(make_pairs(2 if name == "unimatch_v2" else 1))
  assert_no_bit_changes(model, phase, state, batch)


@SLOW
@pytest.mark.parametrize("mode", ["cutmix", "cutout", "classmix"])
def test_u2pl(mode):
  model, tx = tiny.make_model(), tiny.make_tx()
  changes = {"semi.supervised_epochs": 0, "augment.mode": mode}
  changes |= {"augment.probability": 1.0, "contrast.low_rank": 1}
  (phase,) = tiny.make_phases(model, **changes)
  state = tiny.make_state(model, tx, (phase,))
  batch = tiny.make_batch()
  truth = tiny.make_batch(5)["label_l"]
  metrics, seen = run_step(model, phase, state, batch | {"label_u": truth})

  teacher = state.memory.teacher
  images = batch["image_u"]
  others = np.roll(images, -1, axis=0)
  if mode == "cutout":
    others = np.broadcast_to(np.asarray(mean_color(model)), images.shape)
  # Labeled and unlabeled images alternate.
  view = seen["views"][0][1::2]
  source = comes_from(view, model, (images, others))
  labels, _ = eval_labels(model, teacher, images)
  blank = np.full_like(truth, 255)
  pairs = [
    pick(source, (own, blank if mode == "cutout" else np.roll(own, -1, axis=0)))
    for own in (labels, truth)
  ]
  outputs, _ = forward.train_pass(
    model, teacher, jnp.asarray(seen["views"][0]), KEY, dropout=False
  )
  logits = resize.resize_bilinear(outputs["logits"], tiny.SIZE)[1::2]
  probs = np.asarray(jax.nn.softmax(logits), np.float64)
  entropy = -(probs * np.log(probs)).sum(-1)
  limit = np.percentile(entropy[pairs[0] != 255], 80.0)
  taught = np.where(entropy < limit, pairs[0], 255)
  offered = seen["targets"].plan.offered[1::2]
  small = shrink(pairs[1], offered.shape[1:3])
  assert_recounted(metrics, [(taught, pairs[1])], (offered, small), 5)


def mean_color(model):
  """The color that is 0 once normalized, not a whole number."""
  zero, one = (np.asarray(model.normalize(np.full((1, 3), v))) for v in (0, 1))
  return -zero / (one - zero)


@SLOW
@pytest.mark.parametrize("recipe", ["paper", "reference"])
def test_u2pl_with_ael(recipe):
  model, tx = ael.model_and_tx()
  changes = {"semi.supervised_epochs": 0, "ael.contrast_start": 0.0}
  changes |= {"contrast.low_rank": 1, "contrast.label_stack": 1}
  (phase,) = ael.make_phases(recipe, **changes)
  state = tiny.make_state(model, tx, (phase,))
  batch = ael.make_batch(state)
  truths = [tiny.make_batch(seed)["label_l"] for seed in (5, 6)]
  known = dict(zip(("label_u", "label_u2"), truths, strict=True))
  metrics, seen = run_step(model, phase, state, batch | known)
  targets = seen["targets"]
  images = batch["image_u"], batch["image_u2"]
  source = comes_from(seen["views"][1], model, images)
  truth = pick(source, truths)
  # Of a teacher whose statistics move within the step, as the step has them.
  taught = np.where(targets.mixed.weights > 0, targets.mixed.labels, 255)
  offered = targets.plan.offered[1::2]
  small = shrink(truth, offered.shape[1:3])
  assert_recounted(metrics, [(taught, truth)], (offered, small), 5)


@functools.cache
def make_consistent(name, groups, **changes):
  """Network, phase and first state."""
  version = 2 if name == "unimatch_v2" else 1
  model = unimatch_networks.create({"version": version, "K": 3})
  parts = settings_test.make_parts(model=model)
  loss = pixelwise.make_supervised_loss(pixelwise.LossOptions())
  parts = parts.__class__(**{**vars(parts), "supervised_loss": loss})
  changes = PLAIN | {"consistency__groups": groups} | changes
  (phase,) = settings_test.create(name, parts, **changes)
  return model, phase, tiny.make_state(model, tiny.make_tx(), (phase,))


def make_pairs(version):
  """A batch of random images with a padding, and truths."""
  side = {1: 17, 2: 28}[version]
  rng = np.random.default_rng(0)
  maps = (4, side, side)
  batch = {
    name: rng.integers(0, 256, (*maps, 3), np.uint8)
    for name in ("image_l", "image_u", "image_u2")
  }
  batch["label_l"] = rng.integers(0, 3, maps, np.uint8)
  for suffix in ("u", "u2"):
    batch[f"padding_{suffix}"] = (rng.random(maps) < 0.2).astype(np.uint8)
    labels = rng.integers(0, 3, maps, np.uint8)
    batch[f"label_{suffix}"] = np.where(rng.random(maps) < 0.1, 255, labels)
  return batch


def without_second(batch):
  return {name: a for name, a in batch.items() if not name.endswith("2")}


def recount_views(views, model, batch, labels, partner, threshold=THRESHOLD):
  """[(taught, truth)] of strong views.

  Args:
    views: what the student saw, normalized.
    model: the network.
    batch: uint8.
    labels: (labels, probabilities) of the weak views.
    partner: images, (labels, probabilities), padding and truth.
    threshold: of the probabilities.
  """
  found = []
  for view in views:
    source = comes_from(view, model, (batch["image_u"], partner[0]))
    source = fill_boxes(source)
    (own, other), (sure, surer) = zip(labels, partner[1])
    is_padding = pick(source, (batch["padding_u"], partner[2])) == 1
    is_taught = ~is_padding & (pick(source, (sure, surer)) >= threshold)
    taught = np.where(is_taught, pick(source, (own, other)), 255)
    found.append((taught, pick(source, (batch["label_u"], partner[3]))))
  return found


def reversed_partner(batch, labels, groups):
  return (
    reverse(batch["image_u"], groups),
    [reverse(each, groups) for each in labels],
    reverse(batch["padding_u"], groups),
    reverse(batch["label_u"], groups),
  )


@pytest.mark.parametrize(
  "name", ["fixmatch", pytest.param("unimatch_v2", marks=SLOW)]
)
def test_labels_by_a_teacher(name):
  model, phase, state = make_consistent(name, 2)
  batch = without_second(make_pairs(2 if name == "unimatch_v2" else 1))
  metrics, seen = run_step(model, phase, state, batch)
  labels = eval_labels(model, state.memory.teacher, batch["image_u"])
  if name == "fixmatch":
    views = [seen["views"][0][1::2]]
  else:
    views = [seen["views"][1][0::2], seen["views"][1][1::2]]
  partner = reversed_partner(batch, labels, 2)
  found = recount_views(views, model, batch, labels, partner)
  assert_recounted(metrics, found)


@SLOW
@pytest.mark.parametrize("partner", ["reversed_batch", "same_image"])
def test_labels_by_the_student(partner):
  groups = 1 if partner == "same_image" else 2
  model, phase, state = make_consistent(
    "unimatch", groups, unimatch__partner=partner
  )
  batch = make_pairs(1)
  if partner != "same_image":
    batch = without_second(batch)
  metrics, seen = run_step(model, phase, state, batch)
  size = batch["image_u"].shape[1:3]
  logits = jnp.asarray(seen["outputs"][0]["logits"][1::2])
  labels = of_logits(resize.resize_bilinear(logits, size))
  others = reversed_partner(batch, labels, groups)
  if partner == "same_image":
    of_second = eval_labels(model, state.student, batch["image_u2"])
    names = "image_u2", "padding_u2", "label_u2"
    images, padding, truth = (batch[name] for name in names)
    others = images, of_second, padding, truth
  views = [seen["views"][1][0::2], seen["views"][1][1::2]]
  found = recount_views(views, model, batch, labels, others)
  is_taught = (batch["padding_u"] == 0) & (labels[1] >= THRESHOLD)
  # The weak views are taught once more, with perturbed features.
  weak = np.where(is_taught, labels[0], 255), batch["label_u"]
  assert_recounted(metrics, [*found, weak])
