"""A picture of what a network makes of a few images."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from u2pl_jax.report import charts, examples, pictures

_TITLES = ("Image", "Label", "Prediction", "Entropy", "Pseudo-label")
_NUM_ROWS = 3
_CELL = 288  # Longest side of a small picture when enlarged, pixels.
_GAP, _MARGIN, _CORNER = 12, 28, 20
_FONT_SIZE, _LINE = 26, 40
_SWATCH = 22
# One background for light and dark pages.
_BACKGROUND, _TEXT, _OUTLINE = "#1f242b", "#e6e9ee", "#4a525e"


def choose_rows(
  ordered: Sequence[examples.Example],
) -> list[examples.Example]:
  """The middle one of each third; fewer if there are no three.

  Args:
    ordered: the examples from worst to best.
  """
  count = min(_NUM_ROWS, len(ordered))
  middles = [
    (2 * row + 1) * len(ordered) // (2 * count) for row in range(count)
  ]
  return [ordered[index] for index in middles]


def draw_sheet(
  rows: Sequence[examples.Example],
  class_names: Sequence[str],
  palette: Sequence[Sequence[int]],
  threshold: float,
) -> bytes:
  """Draws image, label, prediction, entropy and pseudo-label of each example.

  Args:
    rows: the examples from top to bottom, at least one.
    class_names: [K].
    palette: [K] RGB.
    threshold: the entropy threshold of the pseudo-label, nats.

  Returns:
    A PNG file.
  """
  table = [_draw_row(example, palette, threshold) for example in rows]
  column_width = max(cells[0].width for cells in table) + _GAP
  width = 2 * _MARGIN + len(_TITLES) * column_width - _GAP
  tops = [_MARGIN + _LINE]
  for cells in table:
    tops.append(tops[-1] + cells[0].height + _GAP)
  bottom = tops.pop() + _GAP
  font = ImageFont.load_default(_FONT_SIZE)
  entries = [
    *zip(map(charts.to_hex, palette), class_names, strict=True),
    ("#ffffff", "no label; dropped; unsure"),
  ]
  legend, num_lines = _place_legend(entries, font, width - 2 * _MARGIN)
  sheet = Image.new(
    "RGBA", (width, bottom + num_lines * _LINE + _MARGIN - _GAP)
  )
  draw = ImageDraw.Draw(sheet)
  box = (0, 0, sheet.width - 1, sheet.height - 1)
  draw.rounded_rectangle(box, _CORNER, _BACKGROUND)
  for column, title in enumerate(_TITLES):
    left = _MARGIN + column * column_width
    draw.text((left, _MARGIN - 8), title, _TEXT, font)
    for top, cells in zip(tops, table, strict=True):
      sheet.paste(cells[column], (left, top))
  for left, line, color, name in legend:
    corner = (_MARGIN + left, bottom + line * _LINE)
    _draw_entry(draw, corner, color, name, font)
  encoded = io.BytesIO()
  sheet.save(encoded, "png", optimize=True)
  return encoded.getvalue()


def _draw_row(
  example: examples.Example,
  palette: Sequence[Sequence[int]],
  threshold: float,
) -> list[Image.Image]:
  """The pictures of `_TITLES`, enlarged by a whole factor to stay sharp."""
  drawn = {
    picture.title: picture.pixels
    for picture in (
      *pictures.of_image(example, palette),
      *pictures.of_view(example, 0, palette, threshold),
    )
  }
  factor = max(_CELL // max(example.label.shape), 1)
  return [
    Image.fromarray(drawn[title].repeat(factor, 0).repeat(factor, 1))
    for title in _TITLES
  ]


def _place_legend(
  entries: Sequence[tuple[str, str]],
  font: ImageFont.FreeTypeFont,
  width: int,
) -> tuple[list[tuple[int, int, str, str]], int]:
  """Breaks colors and names into lines: left, line, color, name; lines."""
  placed = []
  left, line = 0, 0
  for color, name in entries:
    length = _SWATCH + 10 + round(font.getlength(name))
    if left and left + length > width:
      left, line = 0, line + 1
    placed.append((left, line, color, name))
    left += length + _SWATCH
  return placed, line + 1


def _draw_entry(
  draw: ImageDraw.ImageDraw,
  corner: tuple[int, int],
  color: str,
  name: str,
  font: ImageFont.FreeTypeFont,
) -> None:
  left, top = corner
  box = (left, top + 5, left + _SWATCH, top + 5 + _SWATCH)
  draw.rounded_rectangle(box, 4, color, _OUTLINE)
  draw.text((left + _SWATCH + 10, top), name, _TEXT, font)
