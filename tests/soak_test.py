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


def test_ctrl_c_comes_in_every_phase_and_sometimes_twice():
  plans = interruptions.make_plans(0, 0, random.Random(0), 612, ints=50)
  assert {plan.signal for plan in plans} == {signal.SIGINT} and len(plans) == 50
  phases = {"start", "compile", "step", "checkpoint", "evaluate", "any"}
  twice = [plan for plan in plans if plan.again is not None]
  assert {plan.phase for plan in plans} == phases and 10 <= len(twice) <= 14
  assert {plan.phase for plan in twice} == phases
  assert all(0 <= plan.again <= 0.5 for plan in twice)


STOPPED = [
  *BEGUN,
  "stopping after this step; Ctrl-C again ends at once",
  "stopped by Ctrl-C at step 3 of 24, saved in x; the same command goes on",
]
ENDED = [*BEGUN, "interrupted; nothing was saved yet"]


@pytest.mark.parametrize(
  "lines, code, problem",
  [
    (STOPPED, 0, None),
    (ENDED, 130, None),
    (ENDED, -signal.SIGSEGV, "exit code -11"),
    (ENDED, -signal.SIGINT, "exit code -2"),
    (BEGUN, 130, "ended without a word"),
    ([*ENDED, ENDED[-1]], 130, "ended without a word"),
    ([BEGUN[0], STOPPED[2]], 0, "ended without a word"),
    ([BEGUN[0], STOPPED[3]], 0, "did not say at once that it was stopping"),
    (["Traceback (most recent call last):", *ENDED], 130, "crashed"),
    (["Exception ignored in: <function>", *STOPPED], 0, "crashed"),
  ],
)
def test_how_a_run_ends_after_ctrl_c_is_judged(lines, code, problem):
  plan = interruptions.Plan(signal.SIGINT, "step", wait=0.0, last_step=5)
  assert interruptions.find_problem(lines, code, plan, "step") == problem


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
  arguments = ["--kills=2", "--terms=1", "--ints=3", "--method=suponly"]
  arguments.append(f"--out={out}")
  assert soak.main(arguments) == 0, capsys.readouterr().err
  record = json.loads(out.read_text())
  assert record["verdict"] == "bit-identical"
  kills = [kill["signal"] for kill in record["kills"]]
  assert sorted(kills) == ["SIGINT"] * 3 + ["SIGKILL"] * 2 + ["SIGTERM"]
  assert {"params", "batch_stats", "opt_state"} <= record["arrays"].keys()
