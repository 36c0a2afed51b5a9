import math

import numpy as np

from tests import tiny_network
from tests.report import reported
from u2pl_jax.report import examples, tables

NAMES = tiny_network.NAMES
RESULT = reported.RESULT | {"iou": {name: 12.3456 for name in NAMES[:-1]}}
# Rows are labels. IoU: 3/5, 4/7, 0, none, none; the mean is over three.
CONFUSION = np.array(
  [
    [3, 1, 0, 0, 0],
    [1, 4, 0, 0, 0],
    [0, 1, 0, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
  ]
)
MIOU = 100 * (3 / 5 + 4 / 7) / 3


def make_examples(*confusions):
  return examples.Examples("whole", 1234, (), confusions, ())


def by_title(figures):
  return {figure.title: figure for figure in figures}


def test_missing_figures_are_a_dash():
  assert tables.format_percent(None) == tables.format_percent(math.nan) == "–"
  assert tables.format_percent(12.345) == "12.35 %"
  assert tables.format_difference([1.0]) == ""
  assert tables.format_difference([1.0, None]) == ""
  assert tables.format_difference([1.0, 3.5]) == "+2.50"
  assert tables.format_difference([3.5, 1.0]) == "−2.50"


def test_last_and_best_miou_are_those_that_were_logged():
  run = reported.make_run(
    curves={"crop/miou": reported.make_curve(10, np.nan, 30, 20)}, result=RESULT
  )
  figures = by_title(tables.make_figures([run], None))
  assert list(figures) == ["mIoU, last", "mIoU, best", "Training"]
  last, best = figures["mIoU, last"], figures["mIoU, best"]
  assert (last.values, last.notes) == (("20.00 %",), ("crop, step 4",))
  assert (best.values, best.notes) == (("30.00 %",), ("crop, step 3",))
  training = figures["Training"]
  assert training.values == ("1 h 2 min",)
  assert training.notes == ("6 steps, 12 images/s",)


def test_a_run_in_the_middle_has_no_figures_of_its_end():
  figures = by_title(tables.make_figures([reported.make_run()], None))
  assert {figure.values for figure in figures.values()} == {("–",)}
  assert "no result.json" in figures["Training"].notes[0]


def test_scores_of_the_examples_follow_from_their_confusion_matrix():
  one, other = reported.make_run("one"), reported.make_run("other")
  found = make_examples(CONFUSION, 2 * np.eye(5, dtype=int))
  figures = by_title(tables.make_figures([one, other], found))
  miou = figures["mIoU, this report"]
  assert miou.values == (f"{MIOU:.2f} %", "100.00 %")
  assert miou.notes == ("whole, 1,234 images",) * 2
  assert miou.difference == f"+{100 - MIOU:.2f}"
  accuracy = figures["Pixel accuracy, this report"]
  assert accuracy.values == ("70.00 %", "100.00 %")


def test_right_pseudo_labels_are_those_of_the_last_tenth():
  accuracy = [0.0] * 18 + [0.8, 0.9]
  run = reported.make_run(
    curves={
      "taught/accuracy": reported.make_curve(*accuracy),
      "taught/share": reported.make_curve(*[0.0] * 18, 0.5, 0.7),
    }
  )
  figures = by_title(tables.make_figures([run, reported.make_run()], None))
  figure = figures["Right pseudo-labels"]
  assert figure.values == ("85.00 %", "–")
  assert figure.notes[0] == "of 60.0 % that are taught; last 2 steps"
  assert "data.unlabeled_masks" in figure.notes[1]


def test_classes_of_the_examples():
  table = tables.make_class_table(
    [reported.make_run(result=RESULT)], make_examples(CONFUSION)
  )
  assert table.source == "whole, 1,234 validation images"
  assert [row.name for row in table.rows] == list(NAMES)
  assert [row.iou[0] for row in table.rows] == [
    "60.00 %", "57.14 %", "0.00 %", "–", "–"
  ]  # fmt: skip
  assert [row.share for row in table.rows] == [
    "40.00 %", "50.00 %", "10.00 %", "0.00 %", "0.00 %"
  ]  # fmt: skip
  assert table.rows[2].color == "#ff0001"
  assert table.mean.iou == (f"{MIOU:.2f} %",)


def test_without_examples_classes_are_those_of_the_result():
  runs = [reported.make_run("one", result=RESULT), reported.make_run("other")]
  table = tables.make_class_table(runs, None)
  assert "result.json of one: crop, step 6" in table.source
  assert "other has no result.json" in table.source
  assert table.rows[0].iou == ("12.35 %", "–")
  assert table.rows[-1].iou == ("–", "–")
  assert table.rows[0].share == table.rows[0].difference == ""
  assert table.mean.iou == ("20.00 %", "–")
  assert tables.make_class_table(runs[1:], None) is None


def test_keys_that_differ_come_first():
  one = reported.make_run(config={"a": 1, "b": {"c": [1, 2], "d": "x"}})
  other = reported.make_run(config={"a": 1, "b": {"c": [1, 3]}})
  rows = tables.make_config_rows([one, other])
  assert [(row.key, row.values, row.differs) for row in rows] == [
    ("b.c", ("[1, 2]", "[1, 3]"), True),
    ("b.d", ('"x"', ""), True),
    ("a", ("1", "1"), False),
  ]


def test_an_evaluation_may_lack_a_score():
  result = RESULT | {"evaluations": {"crop, last": {"crop/miou": 1.0}}}
  runs = [reported.make_run("one", result=result)]
  assert tables.list_evaluations(runs) == [("one", "crop, last", "1.00 %", "–")]


def test_all_evaluations_of_the_result_are_listed():
  runs = [reported.make_run("one", result=RESULT), reported.make_run("other")]
  assert tables.list_evaluations(runs) == [
    ("one", "slide, teacher of step 4", "31.25 %", "61.00 %")
  ]
