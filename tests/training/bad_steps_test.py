import json

import numpy as np
import pytest

from u2pl_jax.training import bad_steps

NAN, INF = np.float32(np.nan), np.float32(np.inf)


def metrics(supervised=1.0, contrastive=0.5, norm=3.0):
  return {
    "loss/supervised": np.float32(supervised),
    "loss/contrastive": np.float32(contrastive),
    "loss/total": np.float32(supervised + contrastive),
    "grad/norm": np.float32(norm),
    "semi/entropy": NAN,  # No pixel to average over: not a fault.
  }


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"contrastive": NAN}, "step 7: loss/contrastive is nan;"),
    ({"supervised": INF}, "step 7: loss/supervised is inf;"),
    ({"norm": NAN}, "step 7: grad/norm is nan;"),
    ({"supervised": -INF, "norm": NAN}, "loss/supervised is -inf, grad/norm"),
  ],
)
def test_a_bad_step_is_described_by_its_terms(changes, words):
  line = bad_steps.BadSteps(10).check(7, metrics(**changes))
  assert words in line
  assert line.endswith("step not applied (1 in a row, stops at 10)")


def test_a_total_that_overflows_alone_is_named():
  huge = np.float32(3e38)
  with np.errstate(over="ignore"):
    line = bad_steps.BadSteps(10).check(1, metrics(huge, huge))
  assert "loss/total is inf" in line


def test_finite_spikes_are_no_bad_steps():
  steps = bad_steps.BadSteps(1)
  assert steps.check(1, metrics(supervised=1e37, norm=1e38)) is None


def test_so_many_in_a_row_end_the_run():
  steps = bad_steps.BadSteps(3)
  steps.check(4, metrics(NAN))
  steps.check(5, metrics(INF))
  with pytest.raises(FloatingPointError) as caught:
    steps.check(6, metrics(contrastive=NAN))
  message = str(caught.value)
  assert "step 6: loss/contrastive is nan" in message
  assert "3 steps in a row" in message and "max_bad_steps=3" in message
  assert [record["step"] for record in steps.records] == [4, 5, 6]


def test_a_good_step_starts_the_count_anew():
  steps = bad_steps.BadSteps(2)
  for step in range(1, 20, 2):
    assert "1 in a row" in steps.check(step, metrics(NAN))
    assert steps.check(step + 1, metrics()) is None
  assert steps.records == []


def test_the_count_survives_a_restart_as_json():
  before = bad_steps.BadSteps(2)
  before.check(1, metrics(NAN, norm=INF))
  text = json.dumps(before.records, allow_nan=False)
  assert json.loads(text)[0]["metrics"]["grad/norm"] == "inf"
  after = bad_steps.BadSteps(2, json.loads(text))
  with pytest.raises(FloatingPointError, match="2 steps in a row"):
    after.check(2, metrics(NAN))


def test_records_hold_all_losses_and_the_norm():
  steps = bad_steps.BadSteps(2)
  steps.check(1, metrics(NAN))
  assert steps.records == [
    {
      "step": 1,
      "metrics": {
        "loss/supervised": "nan",
        "loss/contrastive": 0.5,
        "loss/total": "nan",
        "grad/norm": 3.0,
      },
    }
  ]
