"""Whole runs of the three methods through the public loop."""

import pytest

from tests import finished_run, tiny_run
from u2pl_jax import train
from u2pl_jax.runtime import checkpoint, distributed

pytestmark = pytest.mark.slow

SETTINGS = {
  # The representation head is for other methods.
  "decoder.rep_channels": 0,
  "train.epochs": 2,
  "data.resizing": "long_side",
  "data.padding": "corner",
  "consistency.threshold": 0.2,
}
TAUGHT_BY = {
  "fixmatch": "teacher", "unimatch": "student", "unimatch_v2": "teacher",
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tiny_run.make_dataset(tmp_path_factory.mktemp("data"))


def _die_at_step_3(line):
  if line.startswith("step 4/"):
    raise KeyboardInterrupt


@pytest.mark.parametrize("method", TAUGHT_BY)
def test_a_run_ends_and_resumes_bit_exactly(
  data_dir, method, tmp_path, monkeypatch
):
  # Second crops of images and fixed pairs are for this recipe alone.
  config = tiny_run.make_config(
    data_dir,
    f"method={method},recipe=reference",
    **SETTINGS,
  )
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  result = train.train_and_evaluate(config, whole)
  assert (result["step"], result["network"]) == (4, TAUGHT_BY[method])
  tags = finished_run.read_tags(whole)
  for tag in ("loss/supervised", "loss/strong1", "consistency/mask_ratio"):
    assert tags[tag] == [1, 2, 3, 4]
  assert ("loss/perturbed" in tags) == (method == "unimatch")
  assert ("consistency/ema_decay" in tags) == (method != "unimatch")

  with monkeypatch.context() as patch:
    patch.setattr(distributed, "show", _die_at_step_3)
    with pytest.raises(KeyboardInterrupt):
      train.train_and_evaluate(config, broken)
  with checkpoint.open_manager(
    broken / "checkpoints", keep_last=1, read_only=True
  ) as manager:
    assert manager.latest_step() == 2
  train.train_and_evaluate(config, broken)
  states = [finished_run.state_of(config, run) for run in (broken, whole)]
  finished_run.assert_bit_identical(*states)
