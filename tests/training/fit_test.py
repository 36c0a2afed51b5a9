"""Settings that a dry run proposes where a step is too large."""

import dataclasses

from u2pl_jax.training import fit

GB = 10**9
STEP = fit.Footprint(
  need=68 * GB,
  state=4 * GB,
  devices=4,
  fsdp=1,
  dtype="float32",
  remat="none",
  images=(4, 4),
  parts=1,
)


def names(step, limit):
  return [setting for setting, _ in fit.suggest(step, limit)]


def test_ends_with_the_first_that_fits():
  assert names(STEP, 60 * GB) == ["model.dtype=bfloat16"]
  assert names(STEP, 40 * GB) == ["model.dtype=bfloat16", "model.remat=blocks"]


def test_names_all_that_there_are_and_none_that_is_set():
  everything = [
    "model.dtype=bfloat16",
    "model.remat=blocks",
    "mesh=(1, -1)",
    "optim.accumulate_steps=2",
    "optim.accumulate_steps=4",
  ]
  assert names(STEP, GB) == everything
  step = dataclasses.replace(
    STEP, dtype="bfloat16", remat="blocks", fsdp=4, parts=3
  )
  assert names(step, GB) == [
    "optim.accumulate_steps=6",
    "optim.accumulate_steps=12",
  ]


def test_each_counts_on_top_of_those_before():
  needs = [need for _, need in fit.suggest(STEP, GB)]
  assert needs == sorted(needs, reverse=True)
  # A quarter of the state, and what bfloat16 and remat leave of temporaries.
  temporaries = needs[1] - 4 * GB
  assert needs[2:] == [GB + temporaries // n for n in (1, 2, 4)]


def test_parts_keep_two_labeled_images_for_batch_normalization():
  one = dataclasses.replace(STEP, devices=1, images=(6, 4))
  assert names(one, 0)[-1] == "optim.accumulate_steps=2"
  few = dataclasses.replace(STEP, devices=1, images=(3, 6))
  assert not [name for name in names(few, 0) if "accumulate" in name]
