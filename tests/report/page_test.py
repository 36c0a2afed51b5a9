"""What a page says of a run in a line."""

import types

import numpy as np
import pytest

from tests.report import reported
from u2pl_jax import methods
from u2pl_jax.report import page

CONFIG = {
  "method": "taught",
  "recipe": "paper",
  "seed": 3,
  "data": {"name": "toy", "split": "1_8"},
  "model": {"encoder": "resnet18"},
}


def summarize():
  return page.summarize(CONFIG)


def test_a_method_has_its_own_title(monkeypatch):
  module = types.SimpleNamespace(TITLE="Taught by others")
  monkeypatch.setattr(methods, "find", {"taught": module}.__getitem__)
  assert summarize() == (
    "Taught by others · recipe paper · toy, split 1_8 · resnet18 · seed 3"
  )


@pytest.mark.parametrize("module", [None, types.SimpleNamespace()])
def test_a_method_that_is_not_there_keeps_its_name(module, monkeypatch):
  def find(name):
    if module is None:
      raise ValueError(name)
    return module

  monkeypatch.setattr(methods, "find", find)
  assert summarize().startswith("taught · recipe paper")


def test_mixed_images_of_the_run_are_shown(tmp_path):
  from clu import metric_writers
  from etils import epath

  run = reported.make_run(config=CONFIG, workdir=epath.Path(tmp_path))
  assert page._read_batch(run) == []
  writer = metric_writers.SummaryWriter(str(tmp_path))
  writer.write_images(1, {"batch/0": np.zeros((1, 4, 4, 3), np.uint8)})
  writer.close()
  (picture,) = page._read_batch(run)
  assert picture.startswith("data:image/png;base64,iVBOR")
