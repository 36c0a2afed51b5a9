"""The peers' sides of the benchmarks, tiny."""

import importlib
import json

import pytest

pytest.importorskip("torch")

from benchmarks import matmul, settings  # noqa: E402
from tests.benchmarks import sizes  # noqa: E402

SETTINGS = settings.peer_settings("cpu", "bfloat16")


def make(name, setting, recipe="paper", **changes):
  given = sizes.make_settings(name, recipe, **changes) | setting
  given = json.loads(json.dumps(given))
  return importlib.import_module(settings.MODULES[name][1]).make(given)


@pytest.mark.parametrize(
  "setting", SETTINGS, ids=lambda s: "-".join(s.values())
)
@pytest.mark.parametrize("name", settings.MODULES)
def test_a_side_runs_and_describes_itself(name, setting, monkeypatch):
  monkeypatch.setitem(matmul._SIDES, "cpu", 32)
  work = make(name, setting)
  work.run(1)
  work.run(2)
  assert work.images == {"step": 4, "contrast": 4, "eval": 1}.get(name, 2)
  told = work.describe()
  assert told["platform"] == "cpu"
  assert told["precision"] == setting["precision"]
  json.dumps(told)


@pytest.mark.parametrize("mode", ["cutout", "classmix"])
def test_other_mixes(mode):
  given = sizes.make_settings("augment")
  given["config"]["augment"]["mode"] = mode
  module = importlib.import_module(settings.MODULES["augment"][1])
  module.make(given | SETTINGS[0]).run(1)


@pytest.mark.parametrize("recipe", ["paper", "reference"])
def test_a_supervised_step(recipe):
  """With the recipe "reference" the teacher goes along."""
  work = make("step", SETTINGS[0], recipe, phase="supervised")
  work.run(1)
  assert work.images == 2
  assert (work._trainer.teacher is not None) == (recipe == "reference")


def test_gpus_add_a_precision():
  names = [
    "/".join(s.values()) for s in settings.peer_settings("gpu", "float32")
  ]
  assert "channels_last/tf32" in names and "channels_last/float32" in names
  assert not any("bfloat16" in name for name in names)


def test_tf32_without_a_gpu_is_one_line():
  setting = {"format": "contiguous", "precision": "tf32"}
  with pytest.raises(ValueError, match="^--peer: PyTorch .* sees no GPU.*$"):
    make("augment", setting)


@pytest.mark.parametrize(
  "key, value",
  [
    ("optim.kind", "adamw"),
    ("optim.accumulate_steps", 2),
    ("optim.factors", {"head": 1.0}),
    ("semi.teacher_batch_stats", "ema"),
  ],
)
def test_what_the_peer_cannot_do_is_one_line(key, value):
  given = sizes.make_settings("step") | SETTINGS[0]
  settings.change(given["config"], {key: value})
  module = importlib.import_module(settings.MODULES["step"][1])
  with pytest.raises(ValueError, match=f"^--peer: {key}=.*the peer has .*$"):
    module.make(given)
