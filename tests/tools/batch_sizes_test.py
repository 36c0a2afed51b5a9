"""Batches that choose their size: what they choose, and when they cannot."""

import json

import pytest

from tests import tiny_run
from u2pl_jax import experiment
from u2pl_jax.runtime import workdir
from u2pl_jax.tools import batch_sizes

MB = 10**6


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def make_config(data_dir):
  def make(arg="", **changes):
    settings = {"data.batch_size_l": 16, "data.batch_size_u": 16}
    return tiny_run.make_config(data_dir, arg, **(settings | changes))

  return make


@pytest.fixture
def tried(monkeypatch):
  """A step takes 10 MB, and 1 MB for each image of a part; sizes tried."""
  tried = []

  def create(self, settings):
    del self
    images = settings.get("data.batch_size_l", 16)
    parts = settings.get("optim.accumulate_steps", 1)
    if images % (8 * parts):
      raise ValueError("eight devices")
    return images // parts

  def need(self, settings):
    tried.append(settings)
    return (10 + create(self, settings)) * MB

  monkeypatch.setattr(batch_sizes.Sizes, "_create", create)
  monkeypatch.setattr(batch_sizes.Sizes, "_need", need)
  return tried


def test_the_largest_batch_that_fits(make_config, tried):
  found = batch_sizes.Sizes(make_config(), 35 * MB).largest_batch()
  # In units of the eight devices; 32 images would need 42 MB.
  assert found.settings["data.batch_size_l"] == 24
  assert found.settings["data.batch_size_u"] == 24
  assert found.need == 34 * MB
  assert len(tried) <= 4


def test_at_most_four_times_the_batch(make_config, tried):
  found = batch_sizes.Sizes(make_config(), 1000 * MB).largest_batch()
  assert found.settings["data.batch_size_l"] == 64


def test_the_proportion_stays(make_config, tried):
  config = make_config(**{"data.batch_size_l": 8, "data.batch_size_u": 16})
  found = batch_sizes.Sizes(config, 30 * MB).largest_batch()
  assert found.settings["data.batch_size_l"] == 16
  assert found.settings["data.batch_size_u"] == 32


@pytest.mark.parametrize(
  "changes, rate",
  [
    ({}, 0.2),
    ({"optim.kind": "adamw"}, 0.1 * 2**0.5),
    ({"optim.lr_per_16": True}, 0.1),
  ],
)
def test_the_learning_rate_follows(make_config, tried, changes, rate):
  changes = changes | {"optim.learning_rate": 0.1}
  found = batch_sizes.Sizes(make_config(**changes), 42 * MB).largest_batch()
  assert found.settings["data.batch_size_l"] == 32
  assert found.settings["optim.learning_rate"] == pytest.approx(rate)


def test_the_fewest_parts_that_fit(make_config, tried):
  found = batch_sizes.Sizes(make_config(), 30 * MB).fewest_parts()
  assert found.settings == {"optim.accumulate_steps": 1}
  found = batch_sizes.Sizes(make_config(), 20 * MB).fewest_parts()
  assert found.settings == {"optim.accumulate_steps": 2}
  assert found.need == 18 * MB


def test_nothing_fits(make_config, tried):
  sizes = batch_sizes.Sizes(make_config(), 15 * MB)
  with pytest.raises(ValueError) as error:
    sizes.largest_batch()
  assert str(error.value).startswith(
    "data.batch_size=auto: even 8 labeled and 8 unlabeled images a step take"
    " 18.000 MB of 15.000 MB of a device; use a smaller data.crop_size"
  )
  with pytest.raises(ValueError, match="^data.batch_size=parts: in the small"):
    sizes.fewest_parts()


def test_a_dry_run_says_both(make_config, tried, monkeypatch, capsys):
  monkeypatch.setattr(batch_sizes.devices, "free_bytes", lambda: 20 * MB)
  assert batch_sizes.rehearse(make_config()) == make_config()
  assert not capsys.readouterr().out
  config = batch_sizes.rehearse(make_config(**{"data.batch_size": "parts"}))
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "sizes for 20.000 MB of a device"
  assert "batch_size_l=8 --config.data.batch_size_u=8" in lines[1]
  assert lines[1].endswith("take 18.000 MB of a device")
  assert "--config.optim.accumulate_steps=2 take 18.000 MB" in lines[2]
  assert config["optim"]["accumulate_steps"] == 2


def test_a_wrong_setting_is_told_as_ever(make_config):
  config = make_config(**{"decoder.rep_channels": 0})
  for find in ("largest_batch", "fewest_parts"):
    with pytest.raises(ValueError, match="decoder.rep_channels=0 leaves no"):
      getattr(batch_sizes.Sizes(config, 20 * MB), find)()


class TestResolve:
  def test_given_sizes_stay(self, make_config, tried, tmp_path):
    config = make_config()
    assert batch_sizes.resolve(config, tmp_path) == config
    assert not tried

  def test_the_config_holds_what_was_chosen(
    self, make_config, tried, monkeypatch, capsys
  ):
    monkeypatch.setattr(batch_sizes.devices, "free_bytes", lambda: 20 * MB)
    config = make_config(**{"data.batch_size": "auto"})
    data = batch_sizes.resolve(config, None)["data"]
    assert (data["batch_size"], data["batch_size_l"]) == ("auto", 8)
    assert config["data"]["batch_size_l"] == 16
    assert "data.batch_size=auto: --config.data" in capsys.readouterr().out
    config = make_config(**{"data.batch_size": "parts"})
    resolved = batch_sizes.resolve(config, None)
    assert resolved["optim"]["accumulate_steps"] == 2

  def test_a_run_goes_on_with_its_own(
    self, make_config, tried, tmp_path, monkeypatch
  ):
    changes = {"data.batch_size": "auto"}
    begun = make_config(**changes, **{"data.batch_size_l": 24})
    (tmp_path / "config.json").write_text(json.dumps(begun))
    monkeypatch.setattr(workdir, "holds_checkpoint", lambda _: True)
    monkeypatch.setattr(
      workdir, "read_config", lambda path: json.loads(
        (path / "config.json").read_text()
      )
    )  # fmt: skip
    resolved = batch_sizes.resolve(make_config(**changes), tmp_path)
    assert resolved["data"]["batch_size_l"] == 24
    assert not tried


@pytest.mark.slow
def test_what_is_chosen_fits_and_more_would_not(make_config):
  config = make_config()
  sizes = batch_sizes.Sizes(config, 10**12)
  few, many = (
    sizes._need({"data.batch_size_l": n, "data.batch_size_u": n})
    for n in (16, 24)
  )
  assert few < many
  found = batch_sizes.Sizes(config, many - 1).largest_batch()
  assert found.settings["data.batch_size_l"] == 16
  assert found.need == few
  exp = experiment.create_experiment(batch_sizes.change(config, found.settings))
  assert exp.data.batch_size_l == 16
