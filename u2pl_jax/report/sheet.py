"""A picture of what a network makes of a few images, or is taught of them."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from u2pl_jax.report import charts, examples, pictures

_TITLES = ("Image", "Label", "Prediction", "Entropy", "Pseudo-label")
_NUM_ROWS = 3
_CELL = 288  # Longest side of a small picture when enlarged, pixels.
_GAP, _MARGIN, _CORNER = 12, 28, 20
_FONT_SIZE, _LINE = 26, 40
_SWATCH = 22
# One background for light and dark pages.
_BACKGROUND, _TEXT, _MUTED, _OUTLINE = (
  "#1f242b",
  "#e6e9ee",
  "#9aa4b2",
  "#4a525e",
)


@dataclasses.dataclass(frozen=True)
class Grid:
  """Pictures in rows and columns.

  Attributes:
    title: stands above; "" for none.
    columns: the titles of the columns.
    rows: a picture for each column; those of a row are of one size.
  """

  title: str
  columns: Sequence[str]
  rows: Sequence[Sequence[Image.Image]]

  @property
  def column_width(self) -> int:
    """With the gap behind it, in pixels."""
    return max(row[0].width for row in self.rows) + _GAP

  @property
  def width(self) -> int:
    """In pixels."""
    return len(self.columns) * self.column_width - _GAP

  @property
  def height(self) -> int:
    """With titles and the gap behind each row, in pixels."""
    lines = 1 + bool(self.title)
    return lines * _LINE + sum(row[0].height + _GAP for row in self.rows)


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
  grid = Grid(
    "", _TITLES, [_draw_row(example, palette, threshold) for example in rows]
  )
  entries = list_classes(class_names, palette, "no label; dropped; unsure")
  return draw_grids([grid], entries)


def list_classes(
  class_names: Sequence[str], palette: Sequence[Sequence[int]], white: str
) -> list[tuple[str, str]]:
  """Entries of a legend: color "#rrggbb" and name.

  Args:
    class_names: [K].
    palette: [K] RGB.
    white: what white means.
  """
  colors = map(charts.to_hex, palette)
  return [*zip(colors, class_names, strict=True), ("#ffffff", white)]


def draw_grids(
  grids: Sequence[Grid], entries: Sequence[tuple[str, str]]
) -> bytes:
  """Draws grids one below the other, and a legend.

  Args:
    grids: at least one, each of at least one row.
    entries: of the legend, color "#rrggbb" and name.

  Returns:
    A PNG file.
  """
  font = ImageFont.load_default(_FONT_SIZE)
  width = 2 * _MARGIN + max(grid.width for grid in grids)
  bottom = _MARGIN + sum(grid.height + _GAP for grid in grids)
  legend, num_lines = _place_legend(entries, font, width - 2 * _MARGIN)
  sheet = Image.new(
    "RGBA", (width, bottom + num_lines * _LINE + _MARGIN - _GAP)
  )
  draw = ImageDraw.Draw(sheet)
  box = (0, 0, sheet.width - 1, sheet.height - 1)
  draw.rounded_rectangle(box, _CORNER, _BACKGROUND)
  top = _MARGIN
  for grid in grids:
    _draw_grid(sheet, draw, grid, top, font)
    top += grid.height + _GAP
  for left, line, color, name in legend:
    corner = (_MARGIN + left, bottom + line * _LINE)
    _draw_entry(draw, corner, color, name, font)
  encoded = io.BytesIO()
  sheet.save(encoded, "png", optimize=True)
  return encoded.getvalue()


def _draw_grid(
  sheet: Image.Image,
  draw: ImageDraw.ImageDraw,
  grid: Grid,
  top: int,
  font: ImageFont.FreeTypeFont,
) -> None:
  if grid.title:
    draw.text((_MARGIN, top - 8), grid.title, _TEXT, font)
    top += _LINE
  lefts = [
    _MARGIN + column * grid.column_width for column in range(len(grid.columns))
  ]
  for left, title in zip(lefts, grid.columns, strict=True):
    color = _MUTED if grid.title else _TEXT
    draw.text((left, top - 8), title, color, font)
  top += _LINE
  for row in grid.rows:
    for left, cell in zip(lefts, row, strict=True):
      sheet.paste(cell, (left, top))
    top += row[0].height + _GAP


def enlarge(pixels: np.ndarray) -> Image.Image:
  """A small picture times a whole number, so that it stays sharp.

  Args:
    pixels: uint8 [h, w, 3].
  """
  factor = max(_CELL // max(pixels.shape[:2]), 1)
  return Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1))


def _draw_row(
  example: examples.Example,
  palette: Sequence[Sequence[int]],
  threshold: float,
) -> list[Image.Image]:
  """The pictures of `_TITLES`, enlarged."""
  drawn = {
    picture.title: picture.pixels
    for picture in (
      *pictures.of_image(example, palette),
      *pictures.of_view(example, 0, palette, threshold),
    )
  }
  return [enlarge(drawn[title]) for title in _TITLES]


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
