"""Draws the data flow of each method, as docs/methods/METHOD.svg.

  python -m scripts.site_figures

What is drawn is a table: boxes on a grid, of column and row, and arrows between
them. Dashed arrows carry no gradient.
"""

import html
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

_OUT = pathlib.Path("docs/methods")
_PITCH = 182, 88  # Of the grid, pixels.
_BOX = 162, 50
_MARGIN = 14
_COLORS = {  # Fill and border.
  "data": ("#eceff1", "#607d8b"),
  "student": ("#e3f2fd", "#1976d2"),
  "teacher": ("#fff3e0", "#ef6c00"),
  "step": ("#ffffff", "#757575"),
  "loss": ("#fce4ec", "#c2185b"),
}


class Box(NamedTuple):
  """A box: its place on the grid, its kind, and its lines."""

  column: float
  row: float
  kind: str
  text: str


class Figure(NamedTuple):
  """Boxes by name; arrows "from to" with a label, "from ~ to" if dashed."""

  title: str
  boxes: Mapping[str, Box]
  arrows: Mapping[str, str]


_LABELED = Box(0, 0, "data", "labeled images x\nand labels y")
_SUPERVISED = "supervised loss"
FIGURES = {
  "suponly": Figure(
    "Labels alone: the student is measured by the labels.",
    {
      "x": _LABELED,
      "s": Box(0, 1, "student", "student\ntrain mode"),
      "L": Box(0, 2, "loss", _SUPERVISED),
    },
    {"x s": "", "s L": ""},
  ),
  "u2pl": Figure(
    "U2PL: the teacher labels weak views; entropy parts its pixels into those"
    " that are taught and those that become negatives.",
    {
      "x": _LABELED,
      "u": Box(1.5, 0, "data", "unlabeled images u\nweak view"),
      "te": Box(2.5, 1, "teacher", "teacher\neval mode"),
      "m": Box(1.5, 2, "step", "CutMix of images\nand pseudo-labels"),
      "s": Box(0.5, 3, "student", "student, train mode\non [x; mixed u]"),
      "tt": Box(2.5, 3, "teacher", "teacher, train mode\non [x; mixed u]"),
      "h": Box(2.5, 4, "step", "entropy against threshold γ"),
      "r": Box(1.5, 5, "step", "reliable pixels:\npseudo-labels, anchors"),
      "n": Box(2.5, 6, "step", "unreliable pixels:\nkeys into the banks"),
      "L": Box(0, 7, "loss", _SUPERVISED),
      "U": Box(1, 7, "loss", "unsupervised loss"),
      "C": Box(2, 7, "loss", "contrastive loss"),
    },
    {
      "x s": "", "u m": "", "u ~ te": "", "te ~ m": "pseudo-labels", "m s": "",
      "m ~ tt": "", "s ~ tt": "EMA", "tt ~ h": "", "h ~ r": "",
      "h ~ n": "", "s L": "", "s U": "", "s r": "", "r ~ U": "", "r C": "",
      "n ~ C": "",
    },
  ),
  "u2pl_ael": Figure(
    "U2PL with AEL: how sure the student is of each class decides what is"
    " pasted, mixed and left out.",
    {
      "x": Box(0, 0, "data", "labeled images x\nand a partner"),
      "u": Box(1.5, 0, "data", "unlabeled image 1"),
      "v": Box(2.5, 0, "data", "unlabeled image 2,\nknown to show class c"),
      "cp": Box(0, 1, "step", "copy-paste of\nunsure classes"),
      "te": Box(2, 1, "teacher", "teacher\neval mode"),
      "m": Box(2, 2, "step", "box around class c\npasted into image 1"),
      "s": Box(0, 3, "student", "student, train mode\nx, then mixed u"),
      "t": Box(2, 3, "teacher", "teacher, train mode\nx, then mixed u"),
      "q": Box(1, 4, "step", "confidence of\neach class"),
      "k": Box(1.5, 5, "step", "pixels of sure classes\nleft out by chance"),
      "h": Box(2.2, 4, "step", "entropy: reliable,\nunreliable, banks"),
      "L": Box(0, 6, "loss", _SUPERVISED),
      "U": Box(1, 6, "loss", "consistency loss"),
      "C": Box(2, 6, "loss", "contrastive loss"),
    },
    {
      "x cp": "", "cp s": "", "u ~ te": "", "v ~ te": "", "te ~ m": "",
      "m s": "", "m ~ t": "", "s ~ t": "EMA", "s ~ q": "",
      "q ~ k": "", "k ~ U": "", "h ~ k": "", "t ~ h": "", "s h": "", "h C": "",
      "s L": "", "s U": "",
    },
  ),
  "fixmatch": Figure(
    "FixMatch: the label of the weak view teaches the strong view where it is"
    " confident.",
    {
      "x": _LABELED,
      "w": Box(2, 0, "data", "unlabeled images u\nweak view w"),
      "a": Box(1, 1, "step", "strong view s1:\ncolors, blur, CutMix"),
      "t": Box(2, 1, "teacher", "teacher\neval mode"),
      "s": Box(0.5, 2, "student", "student, train mode\non [x; s1]"),
      "y": Box(2, 2, "step", "labels, where\nconfidence ≥ τ"),
      "L": Box(0, 3.2, "loss", _SUPERVISED),
      "U": Box(1, 3.2, "loss", "loss on s1"),
    },
    {
      "x s": "", "w a": "", "w ~ t": "", "a s": "", "t ~ y": "", "s L": "",
      "s U": "", "s ~ t": "EMA", "y ~ U": "",
    },
  ),
  "unimatch": Figure(
    "UniMatch: two strong views and perturbed features learn from one weak"
    " view, which the student labels itself.",
    {
      "x": _LABELED,
      "w": Box(1.2, 0, "data", "unlabeled images u\nweak view w"),
      "a": Box(2.4, 0, "step", "strong views s1, s2:\ncolors, blur, CutMix"),
      "s": Box(0.5, 1, "student", "student, train mode\non [x; w]"),
      "z": Box(2.4, 1, "student", "student, train mode\non [s1; s2]"),
      "d": Box(0.8, 2, "step", "whole channels of the\nfeatures dropped"),
      "y": Box(1.7, 2, "step", "labels of w, where\nconfidence ≥ τ"),
      "L": Box(0, 3.2, "loss", _SUPERVISED),
      "P": Box(1.2, 3.2, "loss", "loss on perturbed\nfeatures of w"),
      "U": Box(2.4, 3.2, "loss", "losses on\ns1 and s2"),
    },
    {
      "x s": "", "w s": "", "w a": "", "a z": "", "s d": "", "s ~ y": "",
      "d P": "", "y ~ P": "", "y ~ U": "", "z U": "", "s L": "",
    },
  ),
  "unimatch_v2": Figure(
    "UniMatch V2: a teacher labels the weak view; of the two strong views each"
    " lacks the channels that the other one has.",
    {
      "x": _LABELED,
      "w": Box(2, 0, "data", "unlabeled images u\nweak view w"),
      "a": Box(1, 1, "step", "strong views s1, s2:\ncolors, blur, CutMix"),
      "t": Box(2, 1, "teacher", "teacher\neval mode"),
      "s": Box(0, 1, "student", "student, train mode\non x"),
      "z": Box(1, 2, "student", "student, train mode\non [s1; s2]"),
      "d": Box(1, 3, "step", "complementary\ndropout of channels"),
      "y": Box(2, 3, "step", "labels, where\nconfidence ≥ τ"),
      "L": Box(0, 4, "loss", _SUPERVISED),
      "U": Box(1, 4, "loss", "losses on\ns1 and s2"),
    },
    {
      "x s": "", "w a": "", "w ~ t": "", "a z": "", "z d": "", "d U": "",
      "t ~ y": "", "z ~ t": "EMA", "y ~ U": "", "s L": "",
    },
  ),
}  # fmt: skip


def draw(figure: Figure) -> str:
  """A figure as SVG."""
  width = _place(max(b.column for b in figure.boxes.values()), 0)
  height = _place(max(b.row for b in figure.boxes.values()), 1)
  size = [int(end + box / 2 + _MARGIN)
          for end, box in zip((width, height), _BOX, strict=True)]  # fmt: skip
  lines = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}"'
    f' width="{size[0]}" height="{size[1]}" role="img" font-size="13"'
    ' font-family="Helvetica, Arial, sans-serif" text-anchor="middle">',
    f"<title>{html.escape(figure.title)}</title>",
    '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4"'
    ' markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="#455a64"/></marker></defs>',
    f'<rect width="{size[0]}" height="{size[1]}" rx="6" fill="#fff"/>',
  ]
  for arrow, label in figure.arrows.items():
    start, *dashed, end = arrow.split()
    lines += _arrow(figure.boxes[start], figure.boxes[end], label, dashed)
  for box in figure.boxes.values():
    lines += _box(box)
  return "\n".join([*lines, "</svg>", ""])


def _place(at: float, axis: int) -> float:
  return _MARGIN + _BOX[axis] / 2 + at * _PITCH[axis]


def _box(box: Box) -> list[str]:
  x, y = _place(box.column, 0), _place(box.row, 1)
  fill, border = _COLORS[box.kind]
  rows = box.text.split("\n")
  return [
    f'<rect x="{x - _BOX[0] / 2:g}" y="{y - _BOX[1] / 2:g}" rx="6"'
    f' width="{_BOX[0]}" height="{_BOX[1]}" fill="{fill}" stroke="{border}"/>'
  ] + [
    f'<text x="{x:g}" y="{y + 5 + 18 * (i - (len(rows) - 1) / 2):g}">'
    f"{html.escape(row)}</text>"
    for i, row in enumerate(rows)
  ]


def _arrow(start: Box, end: Box, label: str, dashed: list[str]) -> list[str]:
  """A curve from the lower edge of a box, or sideways within a row."""
  x0, y0 = _place(start.column, 0), _place(start.row, 1)
  x1, y1 = _place(end.column, 0), _place(end.row, 1)
  if start.row == end.row:
    side = _BOX[0] / 2 if x1 > x0 else -_BOX[0] / 2
    x0, x1 = x0 + side, x1 - side
    path = f"M{x0:g} {y0:g} {x1:g} {y1:g}"
  else:
    # Beside the middle, so that arrows that meet in a box can be told apart.
    lean = max(-1, min(1, (x1 - x0) / _PITCH[0])) * _BOX[0] / 4
    down = _BOX[1] / 2 if y1 > y0 else -_BOX[1] / 2
    x0, y0, x1, y1 = x0 + lean, y0 + down, x1 - lean, y1 - down
    bend = (y1 - y0) / 2
    path = (
      f"M{x0:g} {y0:g}C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"  # noqa: E501
    )
  style = ' stroke-dasharray="5 4"' if dashed else ""
  drawn = [
    f'<path d="{path}" fill="none" stroke="#455a64" stroke-width="1.4"{style}'
    ' marker-end="url(#head)"/>'
  ]
  if label:
    drawn.append(
      f'<text x="{(x0 + x1) / 2:g}" y="{(y0 + y1) / 2 - 6:g}" font-size="12"'
      f' fill="#455a64" stroke="#fff" stroke-width="4" paint-order="stroke">'
      f"{html.escape(label)}</text>"
    )
  return drawn


if __name__ == "__main__":
  for name, figure in FIGURES.items():
    (_OUT / f"{name}.svg").write_text(draw(figure))
