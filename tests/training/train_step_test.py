"""The step of any method: its views, and how it ends, above all a wrong one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import held_keys, tiny
from u2pl_jax.methods import method
from u2pl_jax.ops import normalize

KEY = jax.random.key(7)
MODEL, TX = tiny.make_model(), tiny.make_tx()
LOSSES = {
  "usual": None,
  "infinite": lambda outputs, labels: jnp.mean(outputs["logits"]) + jnp.inf,
  "huge": lambda outputs, labels: 1e12 * jnp.mean(outputs["logits"] ** 2),
}


@functools.cache
def make_phases(loss="usual", parts=1):
  return tiny.make_phases(
    MODEL,
    parts=tiny.make_parts(
      MODEL, loss=LOSSES[loss], accumulate_steps=parts, batch_size=4
    ),
    **{
      "semi.teacher_init": "independent",
      "contrast.bank_capacity": 24,
      "contrast.bank_capacity_class0": 24,
    },
  )


def make_state(kind="semi", parts=1):
  """As a phase begins, the teacher with statistics of its own."""
  phases = make_phases(parts=parts)
  return tiny.make_state(MODEL, TX, phases, phases[kind == "semi"])


def assert_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def is_counter(leaf):
  return jnp.issubdtype(leaf.dtype, jnp.integer)


def without_counters(state):
  """All that a step which is not applied must leave alone."""
  bank = state.memory.bank
  leaves = [
    leaf
    for leaf in jax.tree.leaves(state.replace(memory=state.memory.teacher))
    if not is_counter(leaf)
  ]
  return leaves, bank.cursor, bank.count, held_keys.of_each_class(bank)


@pytest.fixture(scope="module", autouse=True)
def black_images_are_nan():
  original = normalize.normalize

  def normalize_or_spoil(images, *colors):
    is_black = jnp.all(images == 0, axis=(1, 2, 3), keepdims=True)
    return jnp.where(is_black, jnp.nan, original(images, *colors))

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(normalize, "normalize", normalize_or_spoil)
    yield


@functools.cache
def make_step(kind, loss="usual", parts=1):
  """The compiled step of one kind."""
  phase = make_phases(loss, parts)[kind == "semi"]
  return tiny.make_step(MODEL, TX, phase, accumulate_steps=parts)


def make_batch(seed=0):
  return tiny.make_batch(seed, batch_size=4)


def spoil(batch, name):
  images = batch[name].copy()
  images[0] = 0
  return batch | {name: images}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", ["image_l", "image_u"])
def test_a_step_on_nan_changes_nothing_but_counters(name, parts):
  step = make_step("semi", parts=parts)
  good = make_batch()
  state, _ = step(make_state(parts=parts), good, KEY)
  after, metrics = step(state, spoil(good, name), KEY)
  assert not np.isfinite(metrics["loss/total"])
  assert_equal(without_counters(after), without_counters(state))
  assert after.step == state.step + 1
  # The next step is that of a state which only counted on.
  counters = jax.tree.map(
    lambda old, new: new if is_counter(old) else old, state, after
  ).replace(memory=state.memory)
  (left, left_metrics), (right, right_metrics) = (
    step(start, good, KEY) for start in (after, counters)
  )
  assert_equal(left_metrics, right_metrics)
  assert_equal(without_counters(left), without_counters(right))


def test_keys_of_a_healthy_teacher_are_taken_back_too():
  """Only the student's loss overflows, after the keys entered the bank."""
  finite, overflowing = (
    make_step("semi", loss) for loss in ("usual", "infinite")
  )
  state = make_state()
  # Full rings, so that every new key replaces an old one.
  for index in range(4):
    state, _ = finite(state, make_batch(index), KEY)
  assert np.any(state.memory.bank.count == 24)
  after, metrics = overflowing(state, make_batch(9), KEY)
  assert metrics["contrast/new_keys"] > 0
  assert_equal(without_counters(after), without_counters(state))
  np.testing.assert_array_equal(metrics["bank/fill"], state.memory.bank.fill)


def test_a_first_semi_step_that_goes_wrong_leaves_the_teacher_a_copy():
  state = make_state()
  step = make_step("semi")
  after, _ = step(state, spoil(make_batch(), "image_l"), KEY)
  assert_equal(after.memory.teacher["params"], state.params)
  assert_equal(after.params, state.params)


def test_a_supervised_step_on_nan_changes_nothing_but_counters():
  state = make_state("supervised")
  step = make_step("supervised")
  after, metrics = step(state, spoil(make_batch(), "image_l"), KEY)
  assert not np.isfinite(metrics["loss/supervised"])
  assert_equal(without_counters(after), without_counters(state))
  assert after.step == state.step + 1


def test_the_learning_rate_goes_on_after_a_skipped_step():
  step = make_step("supervised")
  state = make_state("supervised")
  after, _ = step(state, spoil(make_batch(), "image_l"), KEY)
  counts = [
    (int(old), int(new))
    for old, new in zip(
      jax.tree.leaves(state.opt_state), jax.tree.leaves(after.opt_state)
    )
    if is_counter(old)
  ]
  assert counts and all(new == old + 1 for old, new in counts)


def test_a_finite_spike_is_applied():
  state = make_state("supervised")
  step = make_step("supervised", "huge")
  after, metrics = step(state, make_batch(), KEY)
  assert metrics["loss/total"] > 1e9
  moved = jax.tree.map(lambda a, b: np.any(a != b), after.params, state.params)
  assert any(jax.tree.leaves(moved))


class TestViews:
  """A method may show the student several views, one pass after the other."""

  def make_method(self, **changes):
    def teach(memory, student, batch, keys, step):
      del keys, step
      images = MODEL.normalize(batch["image_l"])
      views = (method.View(images), method.View(images[:2]))
      return method.Lesson(views, batch["label_l"]), memory, {}

    def losses(outputs, lesson):
      return {
        "first": jnp.mean(outputs[0]["logits"] ** 2),
        "second": 2 * jnp.mean(outputs[1]["logits"] ** 2),
      }

    return method.Method(teach, losses)._replace(**changes)

  def run(self, chosen):
    phase = method.Phase("views", 0, chosen)
    state = tiny.make_state(MODEL, TX, (phase,))
    return state, *tiny.make_step(MODEL, TX, phase)(state, make_batch(), KEY)

  def test_losses_of_all_views_add_up(self):
    _, _, metrics = self.run(self.make_method())
    total = metrics["loss/first"] + metrics["loss/second"]
    assert metrics["loss/total"] == pytest.approx(float(total))

  def test_statistics_go_from_one_view_to_the_next(self):
    before, after, _ = self.run(self.make_method())
    expected = before.batch_stats
    images = MODEL.normalize(make_batch()["image_l"])
    for seen in (images, images[:2]):
      _, updates = MODEL.apply(
        {"params": before.params, "batch_stats": expected},
        seen,
        train=True,
        dropout=False,
        mutable=["batch_stats"],
      )
      expected = updates["batch_stats"]
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
      after.batch_stats,
      expected,
    )

  def test_statistics_of_passes_while_teaching_count(self):
    usual = self.make_method()

    def teach(*arguments):
      lesson, memory, metrics = usual.teach(*arguments)
      doubled = jax.tree.map(lambda x: 2 * x, arguments[1]["batch_stats"])
      return lesson.replace(batch_stats=doubled), memory, metrics

    _, plain, _ = self.run(usual)
    before, after, _ = self.run(usual._replace(teach=teach))
    # Two passes leave 0.81 of what was there before.
    jax.tree.map(
      lambda a, b, old: np.testing.assert_allclose(
        a - b, 0.81 * old, rtol=1e-4, atol=1e-5
      ),
      after.batch_stats,
      plain.batch_stats,
      before.batch_stats,
    )


class TestObserve:
  """A method may look at what the student made before it is judged."""

  def run(self, observe):
    def teach(memory, student, batch, keys, step):
      del student, keys, step
      view = method.View(MODEL.normalize(batch["image_l"]))
      return method.Lesson((view,), jnp.zeros(())), memory, {}

    def losses(outputs, lesson):
      return {"only": jnp.mean(outputs[0]["logits"] ** 2) * lesson.targets}

    chosen = method.Method(
      teach,
      losses,
      observe=observe,
      init=lambda key, student: jnp.zeros(()),
    )
    phase = method.Phase("observing", 0, chosen)
    state = tiny.make_state(MODEL, TX, (phase,))
    return tiny.make_step(MODEL, TX, phase)(state, make_batch(), KEY)

  def test_targets_and_memory_can_be_the_students_own(self):
    def observe(memory, outputs, lesson):
      size = jnp.mean(outputs[0]["logits"] ** 2)
      lesson = lesson.replace(targets=1 / size)
      return lesson, memory + size, {"size": size}

    after, metrics = self.run(observe)
    assert metrics["loss/only"] == pytest.approx(1.0)
    assert metrics["size"] == after.memory > 0
    # d(x * stop(1 / x)) = dx / x: without the stop there would be none.
    assert metrics["grad/norm"] > 0

  def test_no_gradient_goes_through_it(self):
    def observe(memory, outputs, lesson):
      square = jnp.mean(outputs[0]["logits"] ** 2)
      return lesson.replace(targets=square), memory, {}

    def constant(memory, outputs, lesson):
      square = jax.lax.stop_gradient(jnp.mean(outputs[0]["logits"] ** 2))
      return lesson.replace(targets=square), memory, {}

    first, second = (self.run(each)[1] for each in (observe, constant))
    assert first["grad/norm"] == second["grad/norm"]
