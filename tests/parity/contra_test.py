"""Calls of the published contrastive loss, the bank carried on."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import held_keys
from tests.parity import contra_oracle, contrast_replay, golden
from u2pl_jax.methods.u2pl import contrast, memory_bank


def _count_keys(teacher, pixels, options):
  """[K] int32, the keys of one call: of labeled pixels, and all."""
  _, rep = teacher
  roomy = [pixels.is_labeled.size] * pixels.is_class.shape[-1]
  nothing = jnp.zeros_like(pixels.unreliable)
  counts = []
  for chosen in (pixels.replace(unreliable=nothing), pixels):
    bank, _, _ = contrast_replay.prepare(
      memory_bank.create_memory_bank(roomy, rep.shape[-1]),
      teacher,
      chosen,
      options,
    )
    counts.append(bank.count)
  return counts


@functools.cache
def _make_call(options):
  """One call with either pairing, compiled."""
  loss_and_gradient = jax.value_and_grad(contrast.compute_loss)

  @jax.jit
  def call(bank, rep, teacher, pixels):
    bank, plan, metrics = contrast_replay.prepare(
      bank, teacher, pixels, options
    )
    labeled_keys, keys = _count_keys(teacher, pixels, options)
    partner, original_plan = contrast_replay.pair_by_position(plan)
    return bank, {
      "corrected": loss_and_gradient(rep, plan, options),
      "original": loss_and_gradient(rep, original_plan, options),
      "original_contributes": original_plan.contributes,
      "partner": partner,
      "members": jnp.sum(
        pixels.is_class & pixels.reliable[..., None],
        axis=(0, 1),
        dtype=jnp.int32,
      ),
      "labeled_keys": labeled_keys,
      "keys": keys,
      "plan": plan,
      "metrics": metrics,
    }

  return call


@golden.once_per_input
def _replay(keys, config_json, queue_size, *inputs):
  """A pair (bank, results) for each call of `inputs`, seven arrays each."""
  size = len(contrast_replay.INPUTS)
  calls = [
    contrast_replay.make_inputs(*inputs[i : i + size])
    for i in range(0, len(inputs), size)
  ]
  pixels = max(call[2].is_labeled.size for call in calls)
  options = contrast_replay.make_options(config_json, pixels, keys)
  width = calls[0][0].shape[-1]
  # One row more: a queue that the published code calls full is full here.
  bank = contrast_replay.make_bank(queue_size, width, pixels * len(calls) + 1)
  results = []
  for call in calls:
    bank, result = _make_call(options)(bank, *call)
    results.append((bank, result))
  return results


def _recorded_calls(arrays):
  """A recording's arrays of each call, by their names within it."""
  found = (re.fullmatch(r"call(\d+)/rep", name) for name in arrays)
  numbers = sorted(int(match[1]) for match in found if match)
  assert numbers
  assert numbers == list(range(1, len(numbers) + 1))
  prefixes = [f"call{i}/" for i in numbers]
  return [
    {
      name.removeprefix(prefix): array
      for name, array in arrays.items()
      if name.startswith(prefix)
    }
    for prefix in prefixes
  ]


def _calls(path, keys="reference"):
  """Yields a call's recorded arrays, our bank after it and our results."""
  arrays = golden.load(path)
  calls = _recorded_calls(arrays)
  inputs = [call[name] for call in calls for name in contrast_replay.INPUTS]
  settings = (arrays[k] for k in ("config_json", "queue_size"))
  results = _replay(keys, *settings, *inputs)
  for recorded, (bank, result) in zip(calls, results, strict=True):
    yield recorded, bank, result


def _assert_loss_and_gradient(ours, recorded, pairing):
  """README, section 6: loss 1e-5 relative, gradient 1e-6 absolute."""
  loss, gradient = ours
  expected = recorded[f"loss_{pairing}"]
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  expected = golden.channels_last(recorded[f"grad_rep_{pairing}"])
  np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6)


@golden.every_file("contra")
def test_loss_and_gradient_of_the_corrected_pairing(path):
  for recorded, _, ours in _calls(path):
    _assert_loss_and_gradient(ours["corrected"], recorded, "corrected")


@golden.every_file("contra")
def test_loss_and_gradient_of_the_published_pairing(path):
  for recorded, _, ours in _calls(path):
    _assert_loss_and_gradient(ours["original"], recorded, "original")


@golden.every_file("contra")
def test_loss_with_the_papers_keys(path):
  for recorded, _, ours in _calls(path, "paper"):
    loss, _ = ours["corrected"]
    expected = recorded["loss_corrected_paper_negatives"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@golden.every_file("contra")
def test_classes_that_take_part(path):
  for recorded, _, ours in _calls(path):
    plan, present = ours["plan"], recorded["valid_classes"]
    np.testing.assert_array_equal(np.flatnonzero(plan.present), present)
    # With at most one class present the loss is 0, nothing is used.
    is_lost = len(present) > 1
    used = np.flatnonzero(plan.contributes & is_lost)
    np.testing.assert_array_equal(used, recorded["used_class_corrected"])
    used = np.flatnonzero(ours["original_contributes"] & is_lost)
    pairs = np.stack([used, np.asarray(ours["partner"])[used]], axis=1)
    expected = recorded["used_anchorclass_bankclass_original"]
    np.testing.assert_array_equal(pairs, expected.reshape(-1, 2))


@golden.every_file("contra")
def test_anchors_and_prototypes(path):
  for recorded, _, ours in _calls(path):
    plan, present = ours["plan"], recorded["low_valid_count"] > 0
    members = recorded["low_valid_count"]
    np.testing.assert_array_equal(ours["members"], members)
    anchors = recorded["anchor_count"]
    np.testing.assert_array_equal(plan.anchors.sum(axis=(0, 1)), anchors)
    np.testing.assert_array_equal(ours["metrics"]["contrast/anchors"], anchors)
    # The mean of nothing is NaN there and 0 here.
    expected = np.where(present[:, None], recorded["prototype"], 0)
    np.testing.assert_array_equal(
      present, ~np.isnan(recorded["prototype"][:, 0])
    )
    # The README gives none; 1e-5 as for the paper's prototypes (section 12).
    np.testing.assert_allclose(plan.positives, expected, rtol=0, atol=1e-5)


@golden.every_file("contra")
def test_number_of_new_keys(path):
  for recorded, _, ours in _calls(path):
    expected = recorded["negative_count"]
    np.testing.assert_array_equal(ours["keys"], expected)
    expected = recorded["negative_count_labeled"]
    np.testing.assert_array_equal(ours["labeled_keys"], expected)
    new_keys = ours["metrics"]["contrast/new_keys"]
    assert new_keys == recorded["negative_count"].sum()


@golden.every_file("contra")
def test_number_of_new_keys_by_the_papers_rules(path):
  for recorded, _, ours in _calls(path, "paper"):
    expected = recorded["negative_count_paper_labeled"]
    np.testing.assert_array_equal(ours["labeled_keys"], expected)
    expected = recorded["negative_count_paper_unlabeled"]
    unlabeled = ours["keys"] - ours["labeled_keys"]
    np.testing.assert_array_equal(unlabeled, expected)


@golden.every_file("contra")
def test_bank(path):
  arrays, compared = golden.load(path), 0
  for i, (recorded, bank, _) in enumerate(_calls(path), start=1):
    np.testing.assert_array_equal(bank.count, recorded["queue_length"])
    # The published pointer stays at the size once the queue is full, ours
    # goes round.
    is_full = bank.count == arrays["queue_size"]
    pointer = np.where(is_full, arrays["queue_size"], bank.cursor)
    np.testing.assert_array_equal(pointer, recorded["queue_ptr"])
    if f"queue_after_call{i}" in arrays:  # Not after every call.
      held = held_keys.of_each_class(bank)
      expected = arrays[f"queue_after_call{i}_length"]
      np.testing.assert_array_equal([len(keys) for keys in held], expected)
      expected = arrays[f"queue_after_call{i}"]
      np.testing.assert_array_equal(np.concatenate(held), expected)
      compared += 1
  assert compared


@golden.every_file("contra")
def test_the_oracle_agrees_with_what_was_recorded(path):
  arrays = golden.load(path)
  config = json.loads(str(arrays["config_json"]))
  calls = _recorded_calls(arrays)
  results = contra_oracle.compute(calls, config, arrays["queue_size"])
  for recorded, result in zip(calls, results, strict=True):
    for name, value in result.items():
      np.testing.assert_allclose(value, recorded[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"current_class_negative_threshold": 0.15},
    {"current_class_negative_threshold": 0.05},
    {"current_class_threshold": 0.6, "low_rank": 1, "high_rank": 4},
    {"num_queries": 5, "num_negatives": 9, "temperature": 0.2},
  ],
)
def test_all_settings_are_read_from_the_file(changes, tmp_path):
  config = dict(
    num_queries=16,
    num_negatives=6,
    low_rank=2,
    high_rank=20,
    temperature=0.5,
    current_class_threshold=0.3,
    current_class_negative_threshold=1,
  )
  path = tmp_path / "contra_oracle.npz"
  others = contra_oracle.record(path, config)
  results = contra_oracle.record(path, config | changes)
  for name in ("loss_corrected", "loss_corrected_paper_negatives"):
    is_other = results[0][name] != others[0][name]
    assert is_other == bool(changes), name  # Each of them counts.
  test_loss_with_the_papers_keys(path)
  test_number_of_new_keys(path)
  test_number_of_new_keys_by_the_papers_rules(path)
