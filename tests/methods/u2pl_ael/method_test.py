"""The method on a tiny network: phases, memory, draws, and a bad step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from u2pl_jax import methods
from u2pl_jax.data import supply
from u2pl_jax.methods import method as method_lib
from u2pl_jax.training import train_state

AEL = methods.find("u2pl_ael")
KEY = jax.random.key(7)
SETTINGS = tiny.U2PL_SETTINGS | {"ael.present_area": 0.05}


@functools.cache
def model_and_tx():
  return tiny.make_model(), tiny.make_tx()


def make_phases(recipe="paper", *, parts=None, **changes):
  published = method_lib.Published(num_gpus=4, batch_size_l=8)
  settings = AEL.recipes(published)[recipe] | SETTINGS | changes
  options = [
    section.make(
      section.defaults()
      | {
        key.partition(".")[2]: value
        for key, value in settings.items()
        if key.startswith(f"{section.SECTION}.")
      }
    )
    for section in AEL.OPTIONS
  ]
  model, _ = model_and_tx()
  return AEL.create(parts or tiny.make_parts(model), *options)


def make_batch(state, seed=0, **changes):
  """What the pipeline makes of the first row of what is asked for."""
  batch = tiny.make_batch(seed)
  other = tiny.make_batch(seed + 100)
  asked = {name: rows[0] for name, rows in state.memory.queue.items()}
  batch |= {
    "image_p": other["image_l"],
    "label_p": other["label_l"],
    "image_u2": other["image_u"],
    "position_u": np.array([0, 3], np.int32),
  }
  return batch | asked | changes


@functools.cache
def _compiled(recipe, changes):
  phases = make_phases(recipe, **dict(changes))
  return phases, [tiny.make_step(*model_and_tx(), p) for p in phases]


def run(recipe, count, batches=make_batch, **changes):
  """States after 0, 1, ... steps, and the metrics of each."""
  phases, steps = _compiled(recipe, tuple(changes.items()))
  states, metrics = [tiny.make_state(*model_and_tx(), phases)], []
  for index in range(count):
    place = sum(phase.first_step <= index for phase in phases) - 1
    state = states[-1]
    if index and phases[place].first_step == index:
      state = train_state.begin_phase(state, phases[place], tiny.KEY)
    state, found = steps[place](state, batches(state, index), KEY)
    states.append(state)
    metrics.append(jax.device_get(found))
  return states, metrics


def test_phases_by_when_the_contrastive_loss_begins():
  def starts(**changes):
    return {p.name: p.first_step for p in make_phases(**changes)}

  assert starts() == {"contrast": 0}
  assert starts(recipe="reference") == {"contrast": 0}  # 0.1 of 4 epochs.
  later = {"ael.contrast_start": 0.5}
  assert starts(**later) == {"semi": 0, "contrast": 4}
  warm = {"semi.supervised_epochs": 1}
  assert starts(**later, **warm) == {"supervised": 0, "semi": 2, "contrast": 4}
  assert starts(**warm) == {"supervised": 0, "contrast": 2}
  assert starts(**{"contrast.weight": 0.0}) == {"semi": 0}
  assert starts(**{"ael.contrast_start": 1.0}) == {"semi": 0}


def test_batches_hold_partner_and_second_image():
  (phase,) = make_phases()
  assert phase.supply == supply.Supply(
    unlabeled=True,
    positions=True,
    second="requested",
    requests=("class_u2",),
    lag=supply.MIN_LAG,
    partner=supply.Partner(0.5, (0.1, 2.0)),
  )
  (phase,) = make_phases(**{"ael.copy_paste_probability": 0.0})
  assert phase.supply.partner is None
  assert make_phases(**{"semi.supervised_epochs": 1})[0].supply == (
    supply.Supply()
  )


def test_a_step_of_the_paper():
  states, metrics = run("paper", 2)
  first, second = metrics
  assert {n for n in first if n.startswith("loss/")} == {
    "loss/supervised", "loss/consistency_u", "loss/contrastive", "loss/total"
  }  # fmt: skip
  assert all(np.all(np.isfinite(value)) for value in second.values())
  # d = min(1 - 1 / n, 0.99): the first step copies the student.
  assert (first["semi/ema_decay"], second["semi/ema_decay"]) == (0, 0.5)
  jax.tree.map(
    np.testing.assert_array_equal,
    states[1].memory.teacher["params"],
    states[1].params,
  )
  assert first["classes/confidence"].shape == (tiny.NUM_CLASSES,)
  np.testing.assert_array_equal(
    first["classes/confidence"], states[1].memory.confidence
  )
  share = states[1].memory.present.mean(1)
  np.testing.assert_allclose(first["classes/present"], share)


@pytest.mark.slow
def test_a_step_of_the_reference():
  states, (metrics,) = run("reference", 1)
  assert {n for n in metrics if n.startswith("loss/")} == {
    "loss/supervised", "loss/consistency_l", "loss/consistency_u",
    "loss/contrastive", "loss/total"
  }  # fmt: skip
  # The teacher has initial values of its own, and its eval pass used them.
  before, after = states[0], states[1]
  changed = jax.tree.map(
    lambda a, b: bool(jnp.any(a != b)),
    before.memory.teacher["params"],
    before.params,
  )
  assert any(jax.tree.leaves(changed))
  # Statistics of both networks move twice; the presence of images 0 and 3.
  others = np.setdiff1d(np.arange(4), _seen(before))
  assert not after.memory.present[:, others].any()


def _seen(state):
  return [0, 3, *np.asarray(state.memory.queue["position_u2"][0]).tolist()]


@pytest.mark.parametrize(
  "recipe, is_kept",
  [
    ("paper", True),
    pytest.param("reference", False, marks=pytest.mark.slow),
  ],
)
def test_a_class_that_is_absent(recipe, is_kept):
  def batches(state, index):
    labels = np.full((2, *tiny.SIZE), 255, np.uint8)
    labels[0, :5] = 1
    nothing = np.zeros_like(labels)
    return make_batch(state, index, label_l=labels, label_p=nothing)

  states, _ = run(recipe, 1, batches)
  before, after = (state.memory.confidence for state in states)
  assert before[1] != after[1]
  np.testing.assert_array_equal(before[2:] == after[2:], is_kept)


def test_the_queue_moves_on_by_one_step():
  states, _ = run("paper", 2)
  lengths = {len(rows) for rows in states[0].memory.queue.values()}
  assert lengths == {supply.MIN_LAG + 1}
  for before, after in zip(states, states[1:]):
    for name, rows in after.memory.queue.items():
      np.testing.assert_array_equal(rows[:-1], before.memory.queue[name][1:])
  queue = states[-1].memory.queue
  assert 0 <= queue["position_u2"].min() <= queue["position_u2"].max() < 4
  assert queue["class_u2"].max() < tiny.NUM_CLASSES


def test_a_bad_step_learns_nothing_but_asks_for_more():
  _, (step,) = _compiled("paper", ())
  (state,), _ = run("paper", 0)
  bad = state.replace(params=jax.tree.map(lambda x: x * jnp.nan, state.params))
  after, metrics = step(bad, make_batch(bad), KEY)
  assert not np.isfinite(metrics["loss/total"])
  memory = after.memory
  np.testing.assert_array_equal(memory.confidence, state.memory.confidence)
  np.testing.assert_array_equal(memory.present, state.memory.present)
  assert not memory.bank.count.any()
  for name, rows in memory.queue.items():
    np.testing.assert_array_equal(rows[:-1], state.memory.queue[name][1:])
  for leaf in jax.tree.leaves(memory.teacher):
    assert np.isfinite(leaf).all()


@pytest.mark.slow
def test_phases_hand_on_what_they_remember():
  changes = {"semi.supervised_epochs": 1, "ael.contrast_start": 0.5}

  def batches(state, index):
    if index < 2:
      batch = tiny.make_batch(index)
      return {name: batch[name] for name in ("image_l", "label_l")}
    return make_batch(state, index)

  states, metrics = run("paper", 5, batches, **changes)
  # Supervised epochs leave the state of the classes alone, but ask for images.
  first, third = states[0].memory, states[2].memory
  np.testing.assert_array_equal(first.confidence, third.confidence)
  assert not np.array_equal(
    first.queue["position_u2"], third.queue["position_u2"]
  )
  assert set(metrics[0]) == {"loss/supervised", "loss/total", "grad/norm"}
  assert metrics[2]["semi/ema_decay"] == 0
  # A later phase only adds the bank; the teacher goes on.
  assert states[4].memory.bank is None
  assert "loss/contrastive" not in metrics[3]
  assert metrics[4]["loss/contrastive"] > 0
  assert metrics[4]["semi/ema_decay"] == pytest.approx(2 / 3)


def test_taught_pixels_for_pictures():
  entropy = np.arange(100.0).reshape(1, 10, 10)
  (paper,), (reference,) = make_phases(), make_phases("reference")
  assert np.sum(paper.method.taught(entropy, 0)) == 80
  assert np.sum(reference.method.taught(entropy, 0)) == 80
  assert paper.method.taught(entropy, 0)[0, 0, 0]
  assert not reference.method.taught(entropy, 0)[0, 0, 0]
  (everything,) = make_phases(**{"ael.dropped": "none"})
  assert everything.method.taught(entropy, 0).all()


def test_pictures_of_mixed_images():
  states, _ = run("paper", 1)
  memory = states[1].memory
  batch = make_batch(states[0])
  (phase,) = make_phases()
  pictures = phase.method.show(memory, batch)
  assert len(pictures) == 2
  assert {p.shape for p in pictures} == {(*tiny.SIZE, 3)}
  top, left, *_ = np.asarray(memory.boxes)[0]
  assert pictures[0][top, left].tolist() == [255, 255, 255]


def test_a_published_checkpoint_is_taken_over():
  (phase,) = make_phases()
  (state,), _ = run("paper", 0)
  present = np.zeros((5, 4), bool)
  present[:, 2] = True
  remembered = {"confidence": np.full(5, 0.5, np.float32), "present": present}
  memory = phase.method.adopt(state.memory, remembered | {"other": 1})
  np.testing.assert_array_equal(memory.confidence, 0.5)
  np.testing.assert_array_equal(memory.present, present)
  # What is asked for goes by it from the first step on.
  np.testing.assert_array_equal(memory.queue["position_u2"], 2)
  with pytest.raises(ValueError, match=r"present \(5, 3\).*another split"):
    phase.method.adopt(state.memory, {"present": present[:, :3]})


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"ael.excluded": ("f",)}, "ael.excluded names 'f'"),
    ({"ael.excluded": (0, 1, 2, 8, 10)}, "has 5 classes, 0 to 4"),
    ({"ael.excluded": tuple("abcde")}, "leaves no class to paste"),
    ({"ael.draw_lag": 1}, "ael.draw_lag=1: batches are drawn 2 steps ahead"),
    ({"ael.copy_paste_scale": (1.5, 2.0)}, "ael.copy_paste_scale=.*hold 1"),
    ({"ael.dropped": "all"}, "ael.dropped='all': expected one of unsure"),
  ],
)
def test_settings_that_do_not_fit_are_refused_by_key(changes, message):
  with pytest.raises(ValueError, match=message) as error:
    make_phases(**changes)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"num_unlabeled": 1}, "data.split has 1 unlabeled image"),
    ({"batch_size_u": 1}, "data.batch_size_u=1:.*set it to 2 or more"),
    (
      {"batch_size_u": 2, "accumulate_steps": 2},
      "data.batch_size_u=2:.*set it to 4 or more",
    ),
  ],
)
def test_runs_that_cannot_mix_are_refused_by_key(changes, message):
  model, _ = model_and_tx()
  parts = dataclasses.replace(tiny.make_parts(model), **changes)
  with pytest.raises(ValueError, match=message) as error:
    make_phases(parts=parts)
  assert "\n" not in str(error.value)
