"""Our sides of the benchmarks, tiny, and what they may import."""

import importlib
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import arrays, settings
from configs import common
from tests.benchmarks import sizes

HEAVY = ("tensorflow", "tensorflow_datasets", "clu", "ml_collections", "torch")
LIGHT = ("u2pl_jax.tools.benchmark", "u2pl_jax.tools.benchmark_programs")


def make(name, **changes):
  given = sizes.make_settings(name, **changes)
  # As it comes from the parent.
  given = json.loads(json.dumps(given))
  return importlib.import_module(settings.MODULES[name][0]).make(given)


@pytest.mark.parametrize("recipe", ["paper", "reference"])
@pytest.mark.parametrize("method", ["u2pl", "suponly"])
def test_plain_configs_equal_those_of_config_files(method, recipe):
  expected = common.make_config(
    f"method={method},recipe={recipe}",
    splits=("",),
    settings=settings.DEFAULTS["step"],
  ).to_dict()
  found = settings.make_config(method, recipe, settings.DEFAULTS["step"])
  assert found == expected


def test_nothing_needs_tensorflow_or_config_files():
  """On a bare accelerator machine there are JAX, flax, optax and orbax."""
  names = [*LIGHT, "benchmarks.settings"]
  names += [ours for ours, _ in settings.MODULES.values()]
  code = (
    "import importlib, sys\n"
    f"for name in {HEAVY}: sys.modules[name] = None\n"
    f"for name in {names}: importlib.import_module(name)\n"
    "from benchmarks import settings\n"
    "for name in settings.DEFAULTS: settings.make_default(name, 'semi', None)\n"
  )
  finished = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert not finished.returncode, finished.stderr


def test_a_benchmark_runs_without_them(tmp_path):
  """The command itself, until its processes would start."""
  code = (
    "import sys\n"
    f"for name in {HEAVY}: sys.modules[name] = None\n"
    "from u2pl_jax.tools import benchmark, benchmark_turns\n"
    "def measure(sides, rounds, *, alone): raise ValueError('it starts')\n"
    "benchmark_turns.measure = measure\n"
    "benchmark.main([sys.argv[1]])\n"
  )
  for name in ("step", "contrast"):
    finished = subprocess.run(
      [sys.executable, "-c", code, name], capture_output=True, text=True
    )
    assert finished.stderr == "error: it starts\n"


@pytest.mark.parametrize("name", ["contrast", "partition", "augment", "eval"])
def test_a_side_runs_and_describes_itself(name):
  work = make(name)
  work.run(1)
  work.run(2)
  told = work.describe()
  assert work.images == (1 if name == "eval" else 2 + 2 * (name == "contrast"))
  assert told["platform"] == "cpu" and told["dtype"] == "float32"
  assert (told["flops"] > 0) == (name in ("contrast", "eval"))
  json.dumps(told)


@pytest.mark.parametrize("banks", ["full", "empty"])
def test_banks_of_the_contrastive_loss(banks):
  work = make("contrast", banks=banks)
  count = np.asarray(work._bank.count)
  assert (count == work._bank.capacity).all() == (banks == "full")
  assert (count == 0).all() == (banks == "empty")
  work.run(1)


def test_a_step_of_a_run(caplog):
  """Semi-supervised, from the moment on at which that phase begins."""
  work = make("step")
  work.run(1)
  bank = work._state.memory.bank
  np.testing.assert_array_equal(bank.count, bank.capacity)
  with jax.log_compiles(), caplog.at_level("WARNING"):
    work.run(2)
  assert not [each for each in caplog.records if "step" in each.getMessage()]
  first = work._programs.phases[-1].first_step
  assert first > 0 and int(work._state.step) == first + 3
  assert work.images == 4
  # Forward, and twice as much backward, of the network alone.
  assert work.describe()["flops"] > 1e7


def test_a_phase_that_does_not_exist_is_one_line():
  with pytest.raises(ValueError, match="^--phase=third: .*semi, last$"):
    make("step", phase="third")


def test_every_method_gets_the_batch_that_it_asks_for():
  config = settings.make_config("u2pl_ael", "paper", sizes.TINY)
  work = make("step", config=config)
  data = config["data"]
  # Two images make a mixed one; partners are no further images of the epoch.
  assert work.images == data["batch_size_l"] + 2 * data["batch_size_u"]
  size = tuple(data["crop_size"])
  batch = {name: array.shape for name, array in work._batch.items()}
  assert batch["image_p"] == (data["batch_size_l"], *size, 3)
  assert batch["label_p"] == (data["batch_size_l"], *size)
  assert batch["position_u2"] == (data["batch_size_u"],)


def test_labels_hold_the_classes_asked_for():
  rng = np.random.default_rng(0)
  labels = arrays.make_labels(rng, 2, (65, 129), 5)
  assert labels.shape == (2, 65, 129)
  np.testing.assert_array_equal(np.unique(labels), [0, 1, 2, 3, 4, 255])


def test_logits_are_right_in_most_places():
  rng = np.random.default_rng(0)
  labels = arrays.make_labels(rng, 2, (65, 65), 5)
  found = np.argmax(arrays.make_logits(rng, labels, 5), axis=-1)
  is_labeled = labels != arrays.IGNORE_LABEL
  assert 0.9 < np.mean((found == labels)[is_labeled]) < 1
