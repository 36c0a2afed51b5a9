import base64

import numpy as np
import pytest

from tests import tiny_network
from tests.report import reported
from u2pl_jax.report import charts, curve_charts

NAMES = tiny_network.NAMES


def decode(array):
  """The numbers of an array in a figure."""
  if isinstance(array, list):
    return np.array(array)
  values = np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])
  shape = array.get("shape", str(len(values)))
  return values.reshape([int(side) for side in shape.split(",")])


def make_run(name="a", **tags):
  """A run with curves: semi__kept_fraction is semi/kept_fraction."""
  return reported.make_run(
    name,
    curves={
      tag.replace("__", "/"): reported.make_curve(*values)
      for tag, values in tags.items()
    },
  )


def draw(*compared):
  return {chart.key: chart for chart in curve_charts.draw_curves(compared)}


def test_confusions_are_drawn_in_percent_of_the_label():
  confusion = np.array([[3, 1], [0, 0]])
  chart = charts.draw_confusion("m", "Matrix", confusion, ("sky", "road"))
  (trace,) = chart.figure["data"]
  np.testing.assert_array_equal(decode(trace["z"]), [[75, 25], [0, 0]])
  np.testing.assert_array_equal(decode(trace["customdata"]), confusion)
  assert trace["y"] == trace["x"] == ["sky", "road"]
  assert chart.figure["layout"]["yaxis"]["autorange"] == "reversed"


def test_many_classes_have_no_figures_in_their_cells():
  chart = charts.draw_confusion(
    "m", "M", np.eye(21), [str(i) for i in range(21)]
  )
  assert "texttemplate" not in chart.figure["data"][0]


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (128, 0, 0)])
def test_colors_show_on_white_and_on_black(color):
  visible = charts.make_visible(color)
  channels = [int(visible[i : i + 2], 16) / 255 for i in (1, 3, 5)]
  assert 0.3 < (max(channels) + min(channels)) / 2 < 0.7


def test_colors_that_show_stay_as_they_are():
  assert charts.make_visible((60, 120, 190)) == charts.to_hex((60, 120, 190))


def test_each_scalar_is_in_its_chart():
  tags = {f"crop__iou__{NAMES[1]}": [3, 4], f"bank__fill__{NAMES[0]}": [0, 1]}
  drawn = draw(
    make_run(
      crop__miou=[1, 2],
      loss__total=[5, 6, 7],
      semi__drop_threshold=[0.5],
      semi__kept_fraction=[0.75],
      semi__confidence=[0.1],
      **tags,
    )
  )
  expected = {
    "miou": ("crop", [1, 2]),
    "iou": (NAMES[1], [3, 4]),
    "loss": ("total", [5, 6, 7]),
    "threshold": ("drop", [0.5]),
    "fraction": ("kept", [0.75]),
    "bank": (NAMES[0], [0, 1]),
  }
  assert drawn.keys() == expected.keys()
  for key, (name, values) in expected.items():
    (trace,) = drawn[key].figure["data"]
    assert trace["name"] == name
    np.testing.assert_array_equal(decode(trace["y"]), values)
    np.testing.assert_array_equal(
      decode(trace["x"]), np.arange(1, len(values) + 1)
    )


def test_classes_have_their_own_color():
  name, color = NAMES[3], tiny_network.PALETTE[3]
  (trace,) = draw(make_run(**{f"bank__fill__{name}": [1]}))["bank"].figure[
    "data"
  ]
  assert trace["line"]["color"] == charts.make_visible(color)


@pytest.mark.parametrize("kind", ["confidence", "present"])
def test_the_state_of_the_classes_has_a_chart_each(kind):
  drawn = draw(make_run(**{f"classes__{kind}__{NAMES[1]}": [0.25, 0.5]}))
  (trace,) = drawn[kind].figure["data"]
  assert trace["name"] == NAMES[1]


def test_what_the_truth_says_has_charts_overall_and_by_class():
  tags = ("taught_share", "taught_accuracy", "negative_purity")
  by_class = {f"{tag}__{NAMES[1]}": [0.5] for tag in tags}
  drawn = draw(
    make_run(taught__share=[0.6], taught__accuracy=[0.9], **by_class)
  )
  names = {
    key: [trace["name"] for trace in chart.figure["data"]]
    for key, chart in drawn.items()
  }
  assert names == {
    "taught": ["share", "accuracy"],
    "taught-accuracy": [NAMES[1]],
    "taught-share": [NAMES[1]],
    "purity": [NAMES[1]],
  }


def test_curves_that_would_hide_each_other_are_one():
  drawn = draw(
    make_run(
      semi__drop_threshold=[1, 2],
      semi__reliable_threshold=[3, 4],
      semi__unreliable_threshold=[1, 2.0001],
    )
  )
  names = [trace["name"] for trace in drawn["threshold"].figure["data"]]
  assert names == ["drop = unreliable", "reliable"]


def test_curves_that_differ_in_one_of_two_runs_stay_apart():
  one = make_run("one", loss__total=[1, 2], loss__supervised=[1, 2])
  other = make_run("other", loss__total=[3, 4], loss__supervised=[1, 2])
  traces = draw(one, other)["loss"].figure["data"]
  assert [trace["name"] for trace in traces] == ["total"] * 2 + [
    "supervised"
  ] * 2
  assert [trace["line"]["dash"] for trace in traces] == ["solid", "dot"] * 2
  assert [trace["showlegend"] for trace in traces] == [True, False] * 2
  assert "other" in traces[1]["hovertemplate"]


def test_a_curve_of_the_second_run_alone_is_in_the_legend():
  one = make_run("one", loss__total=[1])
  other = make_run("other", loss__total=[3], loss__contrastive=[2])
  last = draw(one, other)["loss"].figure["data"][-1]
  assert (last["name"], last["showlegend"]) == ("contrastive", True)


def test_the_miou_of_two_protocols_stays_apart():
  drawn = draw(make_run("one", crop__miou=[1]), make_run("b", whole__miou=[2]))
  names = [trace["name"] for trace in drawn["miou"].figure["data"]]
  assert names == ["crop", "whole"]


def test_long_curves_say_that_they_show_means():
  count = curve_charts.MAX_POINTS + 1
  chart = draw(make_run(loss__total=np.arange(count)))["loss"]
  assert "mean of 2 steps" in chart.note
  (trace,) = chart.figure["data"]
  np.testing.assert_array_equal(decode(trace["y"])[:2], [0.5, 2.5])


def test_shares_of_single_batches_are_shown_as_means_of_many():
  accuracy = np.tile([0.4, 0.8], 120)
  chart = draw(make_run(taught__accuracy=accuracy))["taught"]
  assert "mean of 4 steps" in chart.note
  (trace,) = chart.figure["data"]
  np.testing.assert_allclose(decode(trace["y"]), np.full(60, 0.6))


def test_runs_without_curves_have_no_charts():
  assert curve_charts.draw_curves([reported.make_run()]) == []
