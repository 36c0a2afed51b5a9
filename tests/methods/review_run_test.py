"""The curves of a run, against a recount from its checkpoint."""

import numpy as np
import pytest

from tests import finished_run, tiny_run
from tests.methods import review_test
from u2pl_jax import experiment, train
from u2pl_jax.experiment import inputs
from u2pl_jax.report import curves

# Hardly above chance with 8 classes: the network is untrained.
THRESHOLD = 0.13
SETTINGS = {
  "data.unlabeled_masks": True,
  "decoder.rep_channels": 0,
  "data.resizing": "long_side",
  "data.padding": "corner",
  "consistency.threshold": THRESHOLD,
  "views.jitter_prob": 0.0,
  "views.gray_prob": 0.0,
  "views.blur_prob": 0.0,
}


@pytest.mark.slow
def test_the_curve_is_what_a_recount_finds(tmp_path):
  data_dir = tiny_run.make_dataset(tmp_path / "data")
  config = tiny_run.make_config(data_dir, "method=fixmatch", **SETTINGS)
  train.train_and_evaluate(config, tmp_path / "run")
  logged = curves.read_curves(tmp_path / "run")["taught/accuracy"]
  assert logged.steps.tolist() == [1, 2, 3, 4, 5, 6]

  exp = experiment.create_experiment(config)
  (phase,) = exp.programs.phases
  state = finished_run.state_of(config, tmp_path / "run", step=4)
  batch = next(inputs.train_batches(exp, 4))
  metrics, seen = review_test.run_step(
    exp.model,
    phase,
    state,
    batch,
    key=exp.programs._base_rng(),
    tx=exp.programs.tx,
  )
  labels = review_test.eval_labels(
    exp.model, state.memory.teacher, batch["image_u"]
  )
  partner = review_test.reversed_partner(batch, labels, 1)
  ((taught, truth),) = review_test.recount_views(
    [seen["views"][0][1::2]],
    exp.model,
    batch,
    labels,
    partner,
    threshold=THRESHOLD,
  )
  is_counted = (taught != 255) & (truth != 255)
  right = (taught == truth)[is_counted]
  assert 0 < right.sum() < right.size
  # On eight devices a pixel at the threshold may be on its other side.
  near = 2 / right.size
  assert logged.values[4] == pytest.approx(right.mean(), abs=near)
  assert metrics["taught/accuracy"].whole == right.size
  np.testing.assert_array_equal(
    metrics["taught_share"].whole, np.bincount(truth[truth != 255], minlength=8)
  )
