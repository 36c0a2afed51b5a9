"""The kill test in its short form, with the real command line."""

import json
import os
import random
import signal
import sys

import numpy as np
import pytest

from scripts import interruptions, soak

BEGUN = ["starting from random weights", "compiling the step at step 0 ..."]


@pytest.mark.parametrize(
  "lines, saving, expected",
  [
    ([], False, ("start", 0)),
    (["resuming at step 7"], True, ("start", 7)),
    (BEGUN, False, ("compile", 0)),
    (["resuming at step 7", *BEGUN], False, ("compile", 7)),
    ([*BEGUN, "step 3/24 (12%)  total 1.0"], False, ("step", 3)),
    ([*BEGUN, "step 3/24 (12%)  total 1.0"], True, ("checkpoint", 3)),
    ([*BEGUN, "step 8/30 (27%)  total 1.0"], False, ("evaluate", 8)),
    (
      [*BEGUN, "step 8/30 (27%)", "step 8: student mIoU 3 %"],
      False,
      ("step", 8),
    ),
    ([*BEGUN, "step 30/30 (100%)  total 1.0"], False, ("evaluate", 30)),
  ],
)
def test_the_phase_is_told_by_what_a_run_has_printed(lines, saving, expected):
  assert interruptions.find_phase(lines, saving) == expected


def test_plans_hold_all_signals_and_phases_and_leave_room_to_the_end():
  plans = interruptions.make_plans(20, 5, random.Random(0), 312)
  signals = [plan.signal for plan in plans]
  assert signals.count(signal.SIGKILL) == 20
  assert signals.count(signal.SIGTERM) == 5
  for number in (signal.SIGKILL, signal.SIGTERM):
    phases = {plan.phase for plan in plans if plan.signal == number}
    assert phases == {"compile", "step", "checkpoint", "evaluate", "any"}
  steps = [plan.last_step for plan in plans]
  assert steps == sorted(steps) and steps[0] >= 12 and steps[-1] <= 300


def test_one_changed_bit_is_a_difference():
  left = {"miou": 1.0, "a": np.zeros(3, np.float32), "b": np.ones(2)}
  right = left | {"a": np.array([0.0, -0.0, 0.0], np.float32)}
  assert soak.find_differences(left, dict(left)) == []
  assert soak.find_differences(left, right) == ["a"]
  assert soak.find_differences(left, left | {"c": 1}) == ["c"]
  assert soak.find_differences(left, left | {"miou": 1.1}) == ["miou"]
  nan = {"a": np.full(2, np.nan)}
  assert soak.find_differences(nan, {"a": np.full(2, np.nan)}) == []


_TELLS_AND_ENDS_WELL = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("compiling the step at step 0 ...", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
  "code, words",
  [
    ("print('no such dataset')", "ended by itself: no such dataset"),
    (_TELLS_AND_ENDS_WELL, "ended without a word"),
    (_TELLS_AND_ENDS_WELL.replace("exit(0)", "exit(3)"), "exit code 3"),
  ],
)
def test_a_run_that_ends_otherwise_than_it_should_is_told(
  code, words, tmp_path
):
  plan = interruptions.Plan(signal.SIGTERM, "compile", wait=0.0, last_step=5)
  with interruptions.Start(
    [sys.executable, "-c", code], dict(os.environ)
  ) as start:
    with pytest.raises(interruptions.SoakError, match=words):
      interruptions.interrupt(start, plan, tmp_path)


@pytest.mark.slow
def test_a_killed_run_ends_bit_identical_to_an_untouched_one(tmp_path, capsys):
  out = tmp_path / "soak.jsonl"
  arguments = ["--kills=2", "--terms=1", "--method=suponly", f"--out={out}"]
  assert soak.main(arguments) == 0, capsys.readouterr().err
  record = json.loads(out.read_text())
  assert record["verdict"] == "bit-identical"
  kills = [kill["signal"] for kill in record["kills"]]
  assert sorted(kills) == ["SIGKILL", "SIGKILL", "SIGTERM"]
  assert {"params", "batch_stats", "opt_state"} <= record["arrays"].keys()
