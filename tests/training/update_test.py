"""How a step ends, above all one that went wrong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import held_keys, tiny
from u2pl_jax.losses import pixelwise
from u2pl_jax.ops import normalize
from u2pl_jax.training import train_state, update

KEY = jax.random.key(7)
MODEL, TX = tiny.make_model(), tiny.make_tx()
LOSSES = {
  "usual": pixelwise.cross_entropy,
  "infinite": lambda logits, labels: jnp.mean(logits) + jnp.inf,
  "huge": lambda logits, labels: 1e12 * jnp.mean(logits**2),
}


@functools.cache
def make_state():
  """At the first semi step, teacher and student apart."""
  state = tiny.make_state(
    jax.random.key(0), MODEL, TX, teacher_init="independent", bank_rows=24
  )
  return state.replace(step=jnp.int32(tiny.STEPS_PER_EPOCH))


def assert_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def is_counter(leaf):
  return jnp.issubdtype(leaf.dtype, jnp.integer)


def without_counters(state):
  """All that a step which is not applied must leave alone."""
  bank = state.memory_bank
  leaves = [
    leaf
    for leaf in jax.tree.leaves(state.replace(memory_bank=None))
    if not is_counter(leaf)
  ]
  return leaves, bank.cursor, bank.count, held_keys.of_each_class(bank)


@pytest.fixture(scope="module", autouse=True)
def black_images_are_nan():
  original = normalize.normalize

  def normalize_or_spoil(images):
    is_black = jnp.all(images == 0, axis=(1, 2, 3), keepdims=True)
    return jnp.where(is_black, jnp.nan, original(images))

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(normalize, "normalize", normalize_or_spoil)
    yield


@functools.cache
def make_step(kind, loss="usual", parts=1):
  """The compiled step of one kind."""
  kinds = dict(
    zip(
      ("supervised", "semi"),
      tiny.make_steps(MODEL, TX, loss=LOSSES[loss], accumulate_steps=parts),
      strict=True,
    )
  )
  return jax.jit(kinds[kind])


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
  # The first semi step copies the student; the one after it is the spoilt one.
  state, _ = step(make_state(), good, KEY)
  after, metrics = step(state, spoil(good, name), KEY)
  assert not np.isfinite(metrics["loss/total"])
  assert_equal(without_counters(after), without_counters(state))
  assert after.step == state.step + 1
  # The next step is that of a state which only counted on.
  counters = jax.tree.map(
    lambda old, new: new if is_counter(old) else old, state, after
  ).replace(memory_bank=state.memory_bank)
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
  assert np.any(state.memory_bank.count == 24)
  after, metrics = overflowing(state, make_batch(9), KEY)
  assert metrics["contrast/new_keys"] > 0
  assert_equal(without_counters(after), without_counters(state))
  np.testing.assert_array_equal(metrics["bank/fill"], state.memory_bank.fill)


def test_a_first_semi_step_that_goes_wrong_still_copies_the_student():
  state = make_state()
  step = make_step("semi")
  after, _ = step(state, spoil(make_batch(), "image_l"), KEY)
  assert_equal(after.teacher_params, state.params)
  assert_equal(after.params, state.params)


def test_a_supervised_step_on_nan_changes_nothing_but_counters():
  state = make_state()
  step = make_step("supervised")
  after, metrics = step(state, spoil(make_batch(), "image_l"), KEY)
  assert not np.isfinite(metrics["loss/supervised"])
  assert_equal(without_counters(after), without_counters(state))
  assert after.step == state.step + 1


def test_the_learning_rate_goes_on_after_a_skipped_step():
  step = make_step("supervised")
  state = make_state()
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
  state = make_state()
  step = make_step("supervised", "huge")
  after, metrics = step(state, make_batch(), KEY)
  assert metrics["loss/total"] > 1e9
  moved = jax.tree.map(lambda a, b: np.any(a != b), after.params, state.params)
  assert any(jax.tree.leaves(moved))


@pytest.mark.parametrize("with_statistics", [False, True])
def test_the_teacher_moves_towards_the_student(with_statistics):
  state = make_state()
  state = state.replace(
    batch_stats=jax.tree.map(lambda x: x + 1, state.batch_stats)
  )
  moved = update.move_teacher(
    state, jnp.float32(0.75), with_statistics=with_statistics
  )
  for name in ("params", "batch_stats"):
    teacher, student = (
      getattr(state, f"{prefix}{name}") for prefix in ("teacher_", "")
    )
    expected = train_state.ema_update(teacher, student, 0.75)
    if name == "batch_stats" and not with_statistics:
      expected = teacher
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
      getattr(moved, f"teacher_{name}"),
      expected,
    )
