"""Trackers beside TensorBoard: what they get, and what becomes of their faults.

Fakes stand for their packages here; the real ones are in trackers_test.py.
"""

import json
import sys
import types

import numpy as np
import pytest
from clu import metric_writers
from etils import epath

from u2pl_jax.training import writers


class FakeError(Exception):
  """What W&B raises."""


class FakeWandb(types.ModuleType):
  """Keeps what it is called with."""

  def __init__(self, is_reachable=True):
    super().__init__("wandb")
    self.errors = types.SimpleNamespace(Error=FakeError)
    self.Settings = dict
    self.Image = np.shape
    self.is_reachable = is_reachable
    self.inits, self.logged = [], []
    self.fault = None

  def init(self, **arguments):
    self.inits.append(arguments)
    if not self.is_reachable and arguments["mode"] != "offline":
      raise FakeError("no such host\nwith details")
    return self

  def teardown(self):
    pass

  def log(self, values, step):
    if self.fault:
      raise self.fault
    self.logged.append((step, values))

  def finish(self):
    self.logged.append("finished")


class FakeMlflow(types.ModuleType):
  """As much of MLflow as is called, with a client for all."""

  def __init__(self):
    super().__init__("mlflow")
    self.calls = []
    self.entities = types.SimpleNamespace(
      Metric=lambda key, value, time, step: (key, value, step)
    )

  def MlflowClient(self, tracking_uri):  # noqa: N802  As MLflow calls it.
    self.calls.append(("client", tracking_uri))
    return self

  def get_experiment_by_name(self, name):
    return types.SimpleNamespace(experiment_id=f"id of {name}")

  def create_run(self, experiment, run_name):
    self.calls.append(("run", experiment, run_name))
    return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

  def log_batch(self, run_id, metrics):
    self.calls.append(("batch", run_id, metrics))

  def log_image(self, run_id, image, key, step):
    self.calls.append(("image", run_id, image.shape, key, step))

  def __getattr__(self, name):
    return lambda *arguments, **_: self.calls.append((name, *arguments))


@pytest.fixture
def lines():
  return []


@pytest.fixture
def make(tmp_path, lines):
  """make(wandb=..., mlflow=...) creates the writers of a run."""
  folder = epath.Path(tmp_path) / "run"
  folder.mkdir()

  def make(**log):
    config = {"seed": 3, "log": {"wandb": "", "mlflow": ""} | log}
    return writers.create(config, folder, lines.append)

  return make


@pytest.fixture
def wandb(monkeypatch):
  module = FakeWandb()
  monkeypatch.setitem(sys.modules, "wandb", module)
  return module


@pytest.fixture
def mlflow(monkeypatch):
  module = FakeMlflow()
  monkeypatch.setitem(sys.modules, "mlflow", module)
  return module


def test_by_default_there_is_tensorboard_alone(make, tmp_path):
  (writer,) = make()
  assert isinstance(writer, metric_writers.SummaryWriter)
  assert not (tmp_path / "run/trackers.json").exists()


@pytest.mark.parametrize("key", ["wandb", "mlflow"])
def test_a_package_that_is_not_installed_names_its_extra(
  key, make, monkeypatch
):
  monkeypatch.setitem(sys.modules, key, None)
  with pytest.raises(ImportError) as caught:
    make(**{key: "x"})
  message = str(caught.value)
  assert f"log.{key} needs the package {key}" in message
  assert f"pip install 'u2pl_jax[{key}]'" in message and "\n" not in message
  assert caught.value.name is None  # Else the command shows a traceback.


def test_wandb_gets_steps_values_and_pictures(make, wandb):
  _, writer = make(wandb="cells")
  writer.write_scalars(1, {"loss/total": np.float32(0.5)})
  writer.write_images(2, {"crop/0": np.zeros((1, 4, 6, 3), np.uint8)})
  writer.close()
  assert wandb.logged == [
    (1, {"loss/total": 0.5}),
    (2, {"crop/0": (4, 6, 3)}),
    "finished",
  ]
  (init,) = wandb.inits
  assert (init["project"], init["name"], init["mode"]) == ("cells", "run", None)
  assert init["config"]["seed"] == 3


def test_a_run_that_goes_on_keeps_its_id(make, wandb, tmp_path):
  for project in ("cells", "cells", "others"):
    make(wandb=project)
  first, second, third = (init["id"] for init in wandb.inits)
  assert first == second != third
  kept = json.loads((tmp_path / "run/trackers.json").read_text())
  assert kept == {"wandb": {"place": "others", "id": third}}


def test_without_network_wandb_keeps_the_curves_here(make, wandb, lines):
  wandb.is_reachable = False
  _, writer = make(wandb="cells")
  writer.write_scalars(1, {"a": 1.0})
  assert [init["mode"] for init in wandb.inits] == [None, "offline"]
  assert len({init["id"] for init in wandb.inits}) == 1
  assert wandb.logged == [(1, {"a": 1.0})]
  (line,) = lines
  assert line.startswith("wandb: no such host; the run goes on")
  assert "wandb sync" in line and "\n" not in line


def test_a_fault_is_told_once_and_the_run_goes_on(make, wandb, lines):
  _, writer = make(wandb="cells")
  wandb.fault = OSError("disk full")
  for step in (1, 2):
    writer.write_scalars(step, {"a": 1.0})
  wandb.fault = None
  writer.write_images(3, {"b": np.zeros((2, 2, 3))})
  writer.close()
  assert not wandb.logged
  assert lines == [
    "wandb: disk full; the run goes on without it, and TensorBoard has all"
    " curves"
  ]


def test_mlflow_gets_steps_values_and_pictures(make, mlflow):
  _, writer = make(mlflow="http://host")
  writer.write_scalars(4, {"iou/pot (big)": 0.25, "b": float("inf")})
  writer.write_images(4, {"crop/0": np.zeros((1, 4, 6, 3), np.uint8)})
  writer.close()
  assert mlflow.calls[:2] == [
    ("client", "http://host"),
    ("run", "id of u2pl_jax", "run"),
  ]
  assert mlflow.calls[3:] == [
    ("batch", "r1", [("iou/pot _big_", 0.25, 4), ("b", float("inf"), 4)]),
    ("image", "r1", (4, 6, 3), "crop_0", 4),
    ("set_terminated", "r1"),
  ]


def test_mlflow_goes_on_with_its_run(make, mlflow):
  make(mlflow="http://host")
  mlflow.calls.clear()
  make(mlflow="http://host")
  assert mlflow.calls == [("client", "http://host"), ("update_run", "r1")]


def test_both_may_be_asked_for(make, wandb, mlflow, tmp_path):
  assert len(make(wandb="cells", mlflow="http://host")) == 3
  kept = json.loads((tmp_path / "run/trackers.json").read_text())
  assert set(kept) == {"wandb", "mlflow"}
