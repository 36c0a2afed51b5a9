"""Figures as SVG files that do not change from one drawing to the next."""

import io

import matplotlib
from matplotlib import figure as figure_lib

# Text stays text; names within the file do not depend on chance.
_OPTIONS = {"svg.hashsalt": "u2pl_jax", "svg.fonttype": "none"}


def encode(figure: figure_lib.Figure) -> bytes:
  """The file of a figure, without its date."""
  file = io.BytesIO()
  with matplotlib.rc_context(_OPTIONS):
    figure.savefig(file, format="svg", metadata={"Date": None})
  return file.getvalue()
