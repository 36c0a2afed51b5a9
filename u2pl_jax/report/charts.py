"""What all charts of a report have in common; the confusion matrix."""

import colorsys
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from plotly import graph_objects

# Lightness of colors that show on white and on black.
_DARKEST, _LIGHTEST = 0.38, 0.62
_FULL_CELL = (74, 143, 212)  # RGB; an empty cell is transparent.
_MAX_CLASSES_WITH_TEXT = 12  # Cells of more are too small for figures.
_CLEAR = "rgba(0,0,0,0)"


@dataclasses.dataclass(frozen=True)
class Chart:
  """A chart and what is said beside it.

  Attributes:
    key: names it in the page.
    title: what it shows.
    note: how to read it.
    figure: data and layout, as plotly.js takes them.
  """

  key: str
  title: str
  note: str
  figure: Mapping[str, Any]


def make_figure(**layout) -> graph_objects.Figure:
  """An empty figure; the page's style sheet gives it the colors of text."""
  return graph_objects.Figure(
    layout=dict(
      template="none",
      margin=dict(l=8, r=8, t=8, b=8),
      xaxis=dict(automargin=True, zeroline=False),
      yaxis=dict(automargin=True, zeroline=False),
      legend=dict(orientation="h", x=0, y=-0.12, yanchor="top"),
      paper_bgcolor=_CLEAR,
      plot_bgcolor=_CLEAR,
      font=dict(family="inherit", size=12),
    )
    | layout
  )


def to_json(figure: graph_objects.Figure) -> dict[str, Any]:
  """The figure as plotly.js takes it; arrays keep every bit."""
  return json.loads(figure.to_json())


def make_visible(color: Sequence[int]) -> str:
  """A class color with its lightness changed to show on white and on black.

  Args:
    color: RGB in [0, 255].
  """
  hue, lightness, saturation = colorsys.rgb_to_hls(*(c / 255 for c in color))
  lightness = min(max(lightness, _DARKEST), _LIGHTEST)
  rgb = colorsys.hls_to_rgb(hue, lightness, saturation)
  return to_hex([round(255 * channel) for channel in rgb])


def to_hex(color: Sequence[int]) -> str:
  """The form "#rrggbb" of RGB in [0, 255]."""
  return "#{:02x}{:02x}{:02x}".format(*color)


def draw_confusion(
  key: str, title: str, confusion: np.ndarray, class_names: Sequence[str]
) -> Chart:
  """A confusion matrix, each row in percent of the label's pixels.

  Args:
    key: names the chart in the page.
    title: what the chart shows.
    confusion: [K, K] integers, rows are labels.
    class_names: [K].
  """
  pixels = np.asarray(confusion, np.int64)
  percent = 100 * pixels / np.maximum(pixels.sum(1, keepdims=True), 1)
  color = ", ".join(map(str, _FULL_CELL))
  figure = make_figure(
    xaxis=dict(
      title="prediction",
      automargin=True,
      showgrid=False,
      ticks="",
      constrain="domain",
    ),
    yaxis=dict(
      title="label",
      automargin=True,
      showgrid=False,
      ticks="",
      autorange="reversed",
      scaleanchor="x",
      constrain="domain",
    ),
  )
  figure.add_heatmap(
    x=class_names,
    y=class_names,
    z=percent,
    customdata=pixels,
    zmin=0,
    zmax=100,
    xgap=1,
    ygap=1,
    showscale=False,
    colorscale=[(0, f"rgba({color}, 0.06)"), (1, f"rgba({color}, 1)")],
    texttemplate=(
      "%{z:.0f}" if len(class_names) <= _MAX_CLASSES_WITH_TEXT else None
    ),
    hovertemplate="label %{y}, predicted %{x}<br>%{z:.1f} % of the label"
    "<br>%{customdata:,} pixels<extra></extra>",
  )
  note = "Percent of the pixels of each label."
  return Chart(key, title, note, to_json(figure))
