import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from u2pl_jax.ops import normalize, resize

KEY = jax.random.key(7)


@functools.cache
def model_and_tx():
  return tiny.make_model(), tiny.make_tx()


@functools.cache
def jitted_steps(kind):
  """Both steps, jitted; each kind is compiled once for the module."""
  model, tx = model_and_tx()
  options = {
    "paper": {},
    "reference": {"recipe": "reference"},
    "ema": {"teacher_batch_stats": "ema"},
    "plain": {
      "supervised_epochs": 0,
      "strong_augment": dict(mode="none", probability=0.0),
    },
  }[kind]
  return tuple(map(jax.jit, tiny.make_steps(model, tx, **options)))


def make_state(**options):
  model, tx = model_and_tx()
  return tiny.make_state(jax.random.key(0), model, tx, **options)


def run(kind, num_steps, state=None, batch=None):
  """States after 0, 1, ... steps and the metrics of each step."""
  states, metrics = [make_state() if state is None else state], []
  supervised_step, semi_step = jitted_steps(kind)
  first_semi_step = 0 if kind == "plain" else tiny.STEPS_PER_EPOCH
  for index in range(num_steps):
    is_semi = int(states[-1].step) >= first_semi_step
    state, found = (semi_step if is_semi else supervised_step)(
      states[-1], tiny.make_batch(index) if batch is None else batch, KEY
    )
    states.append(state)
    metrics.append(jax.device_get(found))
  return states, metrics


def assert_trees_close(left, right, **tolerance):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **tolerance), left, right
  )


def trees_differ(left, right):
  pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
  return any(not np.array_equal(a, b) for a, b in pairs)


def assert_finite(tree):
  for leaf in jax.tree.leaves(tree):
    assert np.isfinite(leaf).all()


def test_supervised_phase_leaves_the_teacher_but_for_its_statistics():
  states, metrics = run("paper", 1, make_state(teacher_init="independent"))
  assert_trees_close(states[0].teacher_params, states[1].teacher_params)
  assert trees_differ(
    states[0].teacher_batch_stats, states[1].teacher_batch_stats
  )
  assert trees_differ(states[0].params, states[1].params)
  assert set(metrics[0]) == {"loss/supervised", "loss/total", "grad/norm"}
  assert not states[1].memory_bank.count.any()


def test_supervised_loss_equals_numpy():
  (state, _), (metrics,) = run("paper", 1)
  batch = tiny.make_batch(0)
  model, _ = model_and_tx()
  outputs, _ = model.apply(
    state.student_variables,
    normalize.normalize(batch["image_l"]),
    train=True,
    dropout=False,
    mutable=["batch_stats"],
  )
  logits = resize.resize_bilinear(outputs["logits"], tiny.SIZE)
  log_probs = np.asarray(jax.nn.log_softmax(logits), np.float64)
  valid = batch["label_l"] != 255
  picked = np.take_along_axis(
    log_probs, np.where(valid, batch["label_l"], 0)[..., None].astype(int), -1
  )[..., 0]
  expected = -picked[valid].mean()
  assert metrics["loss/supervised"] == pytest.approx(expected, rel=1e-5)


def test_teacher_becomes_the_student_as_the_first_semi_step_begins():
  start = make_state(teacher_init="independent")
  states, _ = run("paper", 3, start)
  # Two supervised steps; the third is the first semi step, with d = 0.
  assert trees_differ(states[2].teacher_params, states[2].params)
  assert_trees_close(states[3].teacher_params, states[3].params)


def test_paper_teacher_averages_from_the_second_semi_step_on():
  states, metrics = run("paper", 5)
  assert [m["semi/ema_decay"] for m in metrics[2:]] == [
    0,
    0.5,
    pytest.approx(2 / 3),
  ]
  expected = jax.tree.map(
    lambda t, s: t / 2 + s / 2, states[3].teacher_params, states[4].params
  )
  assert_trees_close(states[4].teacher_params, expected, rtol=1e-5, atol=1e-7)


def test_reference_teacher_is_the_student_for_the_first_semi_epoch():
  states, _ = run("reference", 5)
  assert_trees_close(states[3].teacher_params, states[3].params)
  assert_trees_close(states[4].teacher_params, states[4].params)
  assert trees_differ(states[5].teacher_params, states[5].params)


def test_forward_policy_updates_the_teachers_own_statistics():
  states, _ = run("paper", 4)
  model, _ = model_and_tx()
  # The mean colour's statistics of the first BN are those of the batch: only
  # a forward pass of the teacher gives them, no average of the student's.
  teacher, student = states[4].teacher_batch_stats, states[4].batch_stats
  assert trees_differ(teacher, student)


def test_ema_policy_averages_statistics_like_parameters():
  states, _ = run("ema", 4)
  assert_trees_close(
    states[3].teacher_batch_stats, states[3].batch_stats, rtol=1e-6
  )
  expected = jax.tree.map(
    lambda t, s: t / 2 + s / 2,
    states[3].teacher_batch_stats,
    states[4].batch_stats,
  )
  assert_trees_close(
    states[4].teacher_batch_stats, expected, rtol=1e-5, atol=1e-7
  )


def test_unsupervised_loss_equals_numpy():
  (state, _), (metrics,) = run("plain", 1)
  batch = tiny.make_batch(0)
  model, _ = model_and_tx()
  images = normalize.normalize(
    np.concatenate([batch["image_l"], batch["image_u"]])
  )
  train_outputs, _ = model.apply(
    state.student_variables,
    images,
    train=True,
    dropout=False,
    mutable=["batch_stats"],
  )
  eval_outputs = model.apply(
    state.teacher_variables, images[2:], train=False, dropout=False
  )

  def full_size(outputs):
    logits = resize.resize_bilinear(outputs["logits"], tiny.SIZE)
    return np.asarray(logits[-2:], np.float64)

  pseudo = full_size(eval_outputs).argmax(-1)
  # Teacher and student are the same network at this step.
  logits = full_size(train_outputs)
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  probs = np.exp(log_probs)
  entropy = -(probs * np.log(probs + 1e-10)).sum(-1)
  kept = entropy < np.percentile(entropy, 80)
  picked = np.take_along_axis(log_probs, pseudo[..., None], -1)[..., 0]
  expected = -picked[kept].mean() * kept.size / kept.sum()
  assert metrics["loss/unsupervised"] == pytest.approx(expected, rel=1e-4)
  assert metrics["semi/drop_threshold"] == pytest.approx(
    np.percentile(entropy, 80), rel=1e-5
  )


def test_percentages_move_with_the_epoch():
  _, metrics = run("paper", 5)
  assert [m["semi/drop_percent"] for m in metrics[2:]] == [85, 85, 90]
  assert [m["semi/unreliable_percent"] for m in metrics[2:]] == [15, 15, 10]


def test_paper_recipe_fires_and_fills_the_bank_of_every_class():
  states, metrics = run("paper", 5)
  assert all(m["loss/contrastive"] > 0 for m in metrics[2:])
  assert (states[-1].memory_bank.count > 0).all()
  assert (metrics[-1]["bank/fill"] <= 1).all()


def test_total_is_the_sum_of_the_terms():
  _, metrics = run("paper", 3)
  terms = ("supervised", "unsupervised", "contrastive")
  assert metrics[2]["loss/total"] == pytest.approx(
    sum(metrics[2][f"loss/{term}"] for term in terms), rel=1e-6
  )


def test_each_phase_is_compiled_once_over_all_epochs():
  states, _ = run("paper", 7)
  assert int(states[-1].step) == 7
  assert [step._cache_size() for step in jitted_steps("paper")] == [1, 1]


def test_same_state_and_batch_give_the_same_step():
  left, right = run("paper", 3), run("paper", 3)
  assert_trees_close(left[0][-1], right[0][-1], rtol=0, atol=0)


def changed(batch, **changes):
  return batch | {
    name: np.full_like(batch[name], value) for name, value in changes.items()
  }


@pytest.mark.parametrize("kind", ["paper", "reference"])
@pytest.mark.parametrize(
  "changes",
  [
    {"label_l": 255},
    {"label_l": 0},
    {"image_u": 0},
    {"label_l": 255, "image_l": 0, "image_u": 0},
  ],
  ids=["all ignored", "one class", "black images", "nothing to see"],
)
def test_poor_batches_keep_everything_finite(kind, changes):
  state = make_state().replace(step=jnp.int32(2))
  batch = changed(tiny.make_batch(0), **changes)
  states, metrics = run(kind, 2, state, batch)
  assert_finite(states[-1])
  assert_finite(metrics)


def test_unknown_statistics_policy_is_refused():
  with pytest.raises(ValueError, match="teacher_batch_stats='frozen'"):
    tiny.make_steps(*model_and_tx(), teacher_batch_stats="frozen")
