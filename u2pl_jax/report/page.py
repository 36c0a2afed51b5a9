"""The page: one HTML file that needs nothing beside itself."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from plotly import offline

from u2pl_jax import methods
from u2pl_jax.report import (
  charts,
  curve_charts,
  gallery,
  pictures,
  runs,
  tables,
)
from u2pl_jax.report import curves as curves_lib
from u2pl_jax.report import examples as examples_lib
from u2pl_jax.report import thresholds as thresholds_lib


def render(
  compared: Sequence[runs.Run],
  examples: examples_lib.Examples | None,
  why_no_examples: str = "",
) -> str:
  """The HTML of a report.

  Args:
    compared: one run, or two on the same data.
    examples: what their networks make of the validation images, or None.
    why_no_examples: a line that says why there are none.
  """
  curves = curve_charts.draw_curves(compared)
  matrices = []
  parts = dict(cards=[], thresholds=[])
  if examples is not None:
    matrices = _draw_matrices(compared, examples)
    parts = _make_gallery(compared, examples)
  return (
    make_environment()
    .get_template("page.html.jinja2")
    .render(
      runs=compared,
      names=[run.name for run in compared],
      classes=compared[0].network.class_names,
      summaries=[summarize(run.config) for run in compared],
      figures=tables.make_figures(compared, examples),
      evaluations=tables.list_evaluations(compared),
      curves=curves,
      matrices=matrices,
      class_table=tables.make_class_table(compared, examples),
      config_rows=tables.make_config_rows(compared),
      batches=[_read_batch(run) for run in compared],
      examples=examples,
      why_no_examples=why_no_examples,
      error_colors={
        name: charts.to_hex(color)
        for name, color in pictures.ERROR_COLORS.items()
      },
      charts={chart.key: chart.figure for chart in curves + matrices},
      plotly=offline.get_plotlyjs(),
      **parts,
    )
  )


def make_environment() -> jinja2.Environment:
  """What the templates of this package are rendered with."""
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("u2pl_jax.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters["percent"] = tables.format_percent
  return environment


def _draw_matrices(
  compared: Sequence[runs.Run], examples: examples_lib.Examples
) -> list[charts.Chart]:
  return [
    charts.draw_confusion(
      f"confusion-{index}",
      "Confusion matrix" + (f", {run.name}" if len(compared) > 1 else ""),
      confusion,
      run.network.class_names,
    )
    for index, (run, confusion) in enumerate(
      zip(compared, examples.confusions, strict=True)
    )
  ]


def _read_batch(run: runs.Run) -> list[str]:
  """Pictures of a training batch that the run left, each as "data:..."."""
  return [
    "data:image/png;base64," + base64.b64encode(picture).decode()
    for picture in curves_lib.read_pictures(run.workdir, "batch/")
  ]


def _make_gallery(
  compared: Sequence[runs.Run], examples: examples_lib.Examples
) -> Mapping[str, Any]:
  thresholds = [
    thresholds_lib.choose_threshold(run, counts)
    for run, counts in zip(compared, examples.entropies, strict=True)
  ]
  cards = gallery.make_cards(
    examples.worst,
    compared[0].network.palette,
    [threshold.value for threshold in thresholds],
  )
  return {"cards": cards, "thresholds": thresholds}


def summarize(config: Mapping[str, Any]) -> str:
  """What was trained on what, in a line.

  Args:
    config: of a run.
  """
  words = [
    _name_method(config["method"]),
    f"recipe {config['recipe']}",
    f"{config['data']['name']}, split {config['data']['split']}",
    config["model"]["encoder"],
    f"seed {config['seed']}",
  ]
  return " · ".join(words)


def _name_method(name: str) -> str:
  """What people call a method; its own name where its module is not there."""
  try:
    return methods.find(name).TITLE
  except (ValueError, AttributeError):
    return name
