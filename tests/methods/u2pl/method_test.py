import functools

import jax
import numpy as np
import pytest

from tests import tiny
from u2pl_jax.ops import interleave, resize
from u2pl_jax.training import train_state

KEY = jax.random.key(7)


@functools.cache
def model_and_tx():
  return tiny.make_model(), tiny.make_tx()


KINDS = {
  "paper": ("paper", {}),
  "reference": ("reference", {}),
  "ema": ("paper", {"semi.teacher_batch_stats": "ema"}),
  "plain": (
    "paper",
    {"semi.supervised_epochs": 0, "augment.mode": "none"},
  ),
}


@functools.cache
def phases_and_steps(kind):
  """Phases, and the compiled step of each by its name."""
  model, tx = model_and_tx()
  recipe, changes = KINDS[kind]
  phases = tiny.make_phases(model, recipe, **changes)
  return phases, {p.name: tiny.make_step(model, tx, p) for p in phases}


def run(kind, num_steps, state=None, batch=None):
  """States after 0, 1, ... steps and the metrics of each step."""
  phases, steps = phases_and_steps(kind)
  if state is None:
    state = tiny.make_state(*model_and_tx(), phases)
  states, metrics = [state], []
  for index in range(num_steps):
    done = int(states[-1].step)
    phase = [p for p in phases if p.first_step <= done][-1]
    state = states[-1]
    if done == phase.first_step > 0 and index:
      state = train_state.begin_phase(state, phase, tiny.KEY)
    state, found = steps[phase.name](
      state, tiny.make_batch(index) if batch is None else batch, KEY
    )
    states.append(state)
    metrics.append(jax.device_get(found))
  return states, metrics


def semi_state(kind):
  """As the semi-supervised phase begins."""
  phases, _ = phases_and_steps(kind)
  return tiny.make_state(*model_and_tx(), phases, phases[-1])


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


def test_reference_supervised_phase_moves_the_teachers_statistics_alone():
  states, metrics = run("reference", 1)
  teachers = [state.memory.teacher for state in states]
  assert_trees_close(teachers[0]["params"], teachers[1]["params"])
  assert trees_differ(teachers[0]["batch_stats"], teachers[1]["batch_stats"])
  assert trees_differ(states[0].params, states[1].params)
  assert set(metrics[0]) == {"loss/supervised", "loss/total", "grad/norm"}
  assert not states[1].memory.bank.count.any()


def test_paper_supervised_phase_remembers_nothing():
  states, metrics = run("paper", 1)
  assert states[1].memory is None
  assert set(metrics[0]) == {"loss/supervised", "loss/total", "grad/norm"}


def test_supervised_loss_equals_numpy():
  (state, _), (metrics,) = run("paper", 1)
  batch = tiny.make_batch(0)
  model, _ = model_and_tx()
  outputs, _ = model.apply(
    state.student,
    model.normalize(batch["image_l"]),
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


def test_paper_teacher_begins_as_the_student_statistics_included():
  phases, _ = phases_and_steps("paper")
  states, _ = run("paper", 2)
  begun = train_state.begin_phase(states[2], phases[1], tiny.KEY)
  assert_trees_close(begun.memory.teacher, states[2].student, rtol=0)
  assert not begun.memory.bank.count.any()


@pytest.mark.parametrize("teacher_init", ["independent", "student"])
def test_a_teacher_from_step_0_keeps_its_statistics_as_it_begins(teacher_init):
  model, tx = model_and_tx()
  phases = tiny.make_phases(model, **{"semi.teacher_init": teacher_init})
  state = tiny.make_state(model, tx, phases)
  is_copy = not trees_differ(state.memory.teacher["params"], state.params)
  assert is_copy == (teacher_init == "student")
  step = tiny.make_step(model, tx, phases[0])
  for index in range(2):  # The first one sees both networks alike.
    state, _ = step(state, tiny.make_batch(index), KEY)
  begun = train_state.begin_phase(state, phases[1], tiny.KEY)
  old, new = state.memory.teacher, begun.memory.teacher
  assert_trees_close(new["params"], state.params, rtol=0)
  assert_trees_close(new["batch_stats"], old["batch_stats"], rtol=0)
  assert trees_differ(new["batch_stats"], state.batch_stats)


def test_the_first_semi_step_ends_with_the_student_as_teacher():
  states, _ = run("paper", 3)  # With d = 0.
  assert_trees_close(states[3].memory.teacher["params"], states[3].params)


def test_paper_teacher_averages_from_the_second_semi_step_on():
  states, metrics = run("paper", 5)
  assert [m["semi/ema_decay"] for m in metrics[2:]] == [
    0,
    0.5,
    pytest.approx(2 / 3),
  ]
  expected = jax.tree.map(
    lambda t, s: t / 2 + s / 2,
    states[3].memory.teacher["params"],
    states[4].params,
  )
  assert_trees_close(
    states[4].memory.teacher["params"], expected, rtol=1e-5, atol=1e-7
  )


def test_reference_teacher_is_the_student_for_the_first_semi_epoch():
  states, _ = run("reference", 5)
  assert_trees_close(states[3].memory.teacher["params"], states[3].params)
  assert_trees_close(states[4].memory.teacher["params"], states[4].params)
  assert trees_differ(states[5].memory.teacher["params"], states[5].params)


def test_forward_policy_moves_the_statistics_by_the_teachers_own_passes():
  state, batch = semi_state("plain"), tiny.make_batch(0)
  # Teacher and student apart, so that only the teacher's own pass gives these.
  teacher = state.memory.teacher
  apart = {
    **teacher,
    "params": jax.tree.map(lambda x: 1.1 * x, teacher["params"]),
  }
  state = state.replace(memory=state.memory.replace(teacher=apart))
  (_, after), _ = run("plain", 1, state, batch)
  model, _ = model_and_tx()
  images = interleave.join(
    *(model.normalize(batch[n]) for n in ("image_l", "image_u"))
  )
  _, expected = model.apply(
    apart, images, train=True, dropout=False, mutable=["batch_stats"]
  )
  found = after.memory.teacher["batch_stats"]
  assert_trees_close(found, expected["batch_stats"], rtol=1e-4, atol=1e-6)
  assert trees_differ(found, apart["batch_stats"])


def test_ema_policy_averages_statistics_like_parameters():
  states, _ = run("ema", 4)
  assert_trees_close(
    states[3].memory.teacher["batch_stats"], states[3].batch_stats, rtol=1e-6
  )
  expected = jax.tree.map(
    lambda t, s: t / 2 + s / 2,
    states[3].memory.teacher["batch_stats"],
    states[4].batch_stats,
  )
  assert_trees_close(
    states[4].memory.teacher["batch_stats"], expected, rtol=1e-5, atol=1e-7
  )


def test_unsupervised_loss_equals_numpy():
  (state, _), (metrics,) = run("plain", 1)
  batch = tiny.make_batch(0)
  model, _ = model_and_tx()
  images = model.normalize(np.concatenate([batch["image_l"], batch["image_u"]]))
  train_outputs, _ = model.apply(
    state.student,
    images,
    train=True,
    dropout=False,
    mutable=["batch_stats"],
  )
  eval_outputs = model.apply(
    state.memory.teacher, images[2:], train=False, dropout=False
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
  assert (states[-1].memory.bank.count > 0).all()
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
  assert [
    step._cache_size() for step in phases_and_steps("paper")[1].values()
  ] == [1, 1]


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
  state = semi_state(kind)
  batch = changed(tiny.make_batch(0), **changes)
  states, metrics = run(kind, 2, state, batch)
  assert_finite(states[-1])
  assert_finite(metrics)


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      {"semi.teacher_batch_stats": "frozen"},
      "semi.teacher_batch_stats='frozen': expected one of forward, ema",
    ),
    ({"semi.supervised_epochs": 5}, "semi.supervised_epochs=5: .* 0 to .*=4"),
    ({"semi.schedule_by": "year"}, "semi.schedule_by='year'"),
    ({"semi.teacher_first_epoch": "later"}, "teacher_first_epoch='later'"),
    ({"contrast.low_rank": 5}, "contrast.low_rank=5 with 5 classes"),
    ({"contrast.label_stack": 3}, "label_stack=3 does not .*batch_size_l.*=2"),
  ],
)
def test_settings_that_make_no_run_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    tiny.make_phases(model_and_tx()[0], **changes)


def test_the_contrastive_loss_needs_a_representation():
  model = tiny.make_model(**{"decoder.rep_channels": 0})
  with pytest.raises(ValueError, match="decoder.rep_channels=0 leaves no"):
    tiny.make_phases(model)
  phases = tiny.make_phases(model, **{"contrast.weight": 0.0})
  assert (
    tiny.make_state(model, model_and_tx()[1], phases[1:]).memory.bank is None
  )


@pytest.mark.parametrize(
  "epochs, names",
  [(0, ["semi"]), (1, ["supervised", "semi"]), (4, ["supervised"])],
)
def test_phases_follow_from_the_supervised_epochs(epochs, names):
  phases = tiny.make_phases(
    model_and_tx()[0], **{"semi.supervised_epochs": epochs}
  )
  assert [phase.name for phase in phases] == names
  assert phases[-1].first_step == (2 * epochs if "semi" in names else 0)
  assert phases[-1].network == ("teacher" if "semi" in names else "student")


def test_taught_pixels_are_those_below_the_percentile_of_the_step():
  phases, _ = phases_and_steps("paper")
  entropy = np.arange(100.0).reshape(1, 10, 10)
  for phase in phases:
    for step, percent in ((0, 80), (2, 85), (7, 95)):
      assert phase.method.taught(entropy, step).sum() == percent
