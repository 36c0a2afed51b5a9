"""The real trackers beside TensorBoard: W&B offline and MLflow in a folder."""

import json
import struct

import numpy as np
import pytest
from clu import metric_writers
from etils import epath
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from u2pl_jax.training import writers

pytestmark = [
  pytest.mark.slow,
  # Of these packages' own making.
  pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def write_twice(tmp_path):
  """write_twice(**log): a run that is gone on with; its folder and lines."""

  def call(**log):
    workdir = epath.Path(tmp_path) / "run"
    workdir.mkdir()
    config = {"seed": 3, "log": {"wandb": "", "mlflow": ""} | log}
    lines = []
    # The step 3 was made, but not saved, before the run was stopped.
    for steps in ((1, 2, 3), (3, 4)):
      created = writers.create(config, workdir, lines.append)
      writer = metric_writers.AsyncMultiWriter(created)
      for step in steps:
        values = {"loss/total": 1 / step, "classes/of all (big)": step / 7}
        writer.write_scalars(step, values)
      picture = np.full((1, 4, 6, 3), steps[-1], np.uint8)
      writer.write_images(steps[-1], {"crop/0": picture})
      writer.close()
    return workdir, lines

  return call


def read_tensorboard(workdir):
  """{(tag, step): value} of the scalars, the later of two."""
  events = event_accumulator.EventAccumulator(
    str(workdir), size_guidance={"tensors": 0}
  )
  events.Reload()
  values = {
    (tag, event.step): tensor_util.make_ndarray(event.tensor_proto)
    for tag in events.Tags()["tensors"]
    for event in events.Tensors(tag)
  }
  return {k: float(value) for k, value in values.items() if not value.ndim}


def read_records(path):
  """What a .wandb file holds: protocol buffers in LevelDB's log format."""
  content = path.read_bytes()[7:]
  block, position, record = 32768, 7, b""
  while content:
    left = block - position % block
    if left < 7:
      content, position = content[left:], position + left
      continue
    _, length, kind = struct.unpack("<IHB", content[:7])
    record += content[7 : 7 + length]
    content, position = content[7 + length :], position + 7 + length
    if kind in (1, 4):  # Whole, or the last of several parts.
      yield record
      record = b""


def read_wandb(workdir):
  """{(tag, step): value} of the scalars, and the ids of the runs."""
  from wandb.proto import wandb_internal_pb2

  values, ids = {}, set()
  for path in sorted(workdir.glob("wandb/offline-run-*/*.wandb")):
    for content in read_records(path):
      record = wandb_internal_pb2.Record.FromString(content)
      if record.HasField("run"):
        ids.add(record.run.run_id)
      items = {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for item in record.history.item
        if len(item.nested_key) < 2  # Others are of pictures.
      }
      values |= {
        (tag, items["_step"]): value
        for tag, value in items.items()
        if not tag.startswith("_")
      }
  return values, ids


def read_mlflow(mlflow, uri):
  """{(tag, step): value} of the scalars of the only run, and the run."""
  client = mlflow.MlflowClient(tracking_uri=uri)
  (experiment,) = client.search_experiments(filter_string="name = 'u2pl_jax'")
  (run,) = client.search_runs([experiment.experiment_id])
  assert client.list_artifacts(run.info.run_id, "images")
  values = {
    (tag, point.step): point.value
    for tag in run.data.metrics
    for point in client.get_metric_history(run.info.run_id, tag)
  }
  return values, run


def test_trackers_have_the_steps_and_values_of_tensorboard(
  write_twice, monkeypatch, tmp_path
):
  """W&B offline and MLflow in a folder; each keeps its run over a resume."""
  pytest.importorskip("wandb")
  mlflow = pytest.importorskip("mlflow")
  monkeypatch.setenv("WANDB_MODE", "offline")
  monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
  uri = f"file:{tmp_path}/mlruns"
  workdir, lines = write_twice(wandb="tests", mlflow=uri)
  assert not any("the run goes on" in line for line in lines)
  expected = read_tensorboard(workdir)
  assert {step for _, step in expected} == {1, 2, 3, 4}
  kept = json.loads((workdir / "trackers.json").read_text())
  values, ids = read_wandb(workdir)
  assert values == pytest.approx(expected)
  assert ids == {kept["wandb"]["id"]}
  values, run = read_mlflow(mlflow, uri)
  # MLflow allows no parentheses.
  expected = {
    (t.replace("(big)", "_big_"), s): v for (t, s), v in expected.items()
  }
  assert values == pytest.approx(expected)
  assert run.info.run_id == kept["mlflow"]["id"]
  assert run.info.status == "FINISHED"


def test_without_network_the_run_goes_on_and_says_so_once(
  write_twice, monkeypatch
):
  """Once for each tracker and each start."""
  wandb = pytest.importorskip("wandb")
  pytest.importorskip("mlflow")
  wandb.teardown()  # It remembers the environment of the test before.
  monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
  monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
  workdir, lines = write_twice(wandb="tests", mlflow="http://127.0.0.1:9")
  told = [line for line in lines if "the run goes on" in line]
  assert [line.partition(":")[0] for line in told] == ["wandb", "mlflow"] * 2
  values, _ = read_wandb(workdir)
  expected = read_tensorboard(workdir)
  assert values == pytest.approx(expected)
