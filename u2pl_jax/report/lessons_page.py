"""Lessons as a page, and as a picture."""

from collections.abc import Sequence

import cv2
import numpy as np
from etils import epath

from u2pl_jax.evaluation import visualize
from u2pl_jax.methods import pictures as lesson_pictures
from u2pl_jax.report import (
  charts,
  examples,
  files,
  gallery,
  lessons,
  page,
  pictures,
  sheet,
)

_SMALL = 128  # Pixels; images no larger are enlarged without blur.


def write_gallery(
  found: lessons.Lessons,
  out: epath.PathLike,
  picture: epath.PathLike | None = None,
) -> None:
  """Writes the page and, where it is asked for, the picture.

  Args:
    found: what to show.
    out: the HTML file.
    picture: a PNG file; None for none.

  Raises:
    OSError: a file cannot be written; one line.
  """
  files.write(out, render(found))
  if picture is not None:
    files.write(picture, draw_sheet(found))


def render(found: lessons.Lessons) -> str:
  """The HTML of the page, which needs nothing beside itself."""
  groups = [
    {
      "title": images.group.title,
      "pictures": [
        (shown.title, shown.note, _list_marks(shown))
        for shown in images.group.pictures
      ],
      "rows": [
        gallery.make_row(name, draw(images.group, index, found.palette))
        for index, name in enumerate(images.names)
      ],
    }
    for images in found.images
  ]
  template = page.make_environment().get_template("lessons.html.jinja2")
  return template.render(
    summary=page.summarize(found.config),
    source=_tell_source(found),
    groups=groups,
    classes=sheet.list_classes(
      found.class_names, found.palette, "not labeled, or not taught"
    ),
  )


def draw_sheet(found: lessons.Lessons) -> bytes:
  """A PNG file of all pictures, with the colors of the classes."""
  grids, entries = [], []
  for images in found.images:
    shown = images.group.pictures
    rows = [
      [sheet.enlarge(p.pixels) for p in draw(images.group, row, found.palette)]
      for row in range(len(images.names))
    ]
    grids.append(sheet.Grid(images.group.title, [p.title for p in shown], rows))
    entries += [mark for each in shown for mark in _list_marks(each)]
  classes = sheet.list_classes(
    found.class_names, found.palette, "not labeled, or not taught"
  )
  white = {"#ffffff"}  # Already in the legend.
  entries = [entry for entry in dict.fromkeys(entries) if entry[0] not in white]
  return sheet.draw_grids(grids, [*classes, *entries])


def draw(
  group: lesson_pictures.Group, row: int, palette: Sequence[Sequence[int]]
) -> list[pictures.Picture]:
  """The pictures of one image, all of one size.

  Args:
    group: of numpy arrays.
    row: which of its images.
    palette: [K] RGB.
  """
  first = group.pictures[0].values
  size = examples.small_size(first.shape[1:3], examples.SIDE)
  return [_draw(shown, row, size, palette) for shown in group.pictures]


def _draw(
  shown: lesson_pictures.Picture,
  row: int,
  size: tuple[int, int],
  palette: Sequence[Sequence[int]],
) -> pictures.Picture:
  values = np.asarray(shown.values[row])
  if shown.kind == "image":
    pixels = cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)
  else:
    small = examples.shrink_nearest(values, size)
    if shown.kind == "classes":
      pixels = visualize.colorize(small, palette)
    elif shown.kind == "share":
      pixels = visualize.share_image(small)
    else:
      colors = [visualize.TONE_COLORS[tone] for _, tone in shown.marks]
      pixels = np.array(colors, np.uint8)[small]
  if shown.frame is not None:
    area = examples.shrink_nearest(np.asarray(shown.frame[row]), size)
    pixels = visualize.draw_frame(pixels, area)
  is_flat = shown.kind != "image" or max(size) <= _SMALL
  return pictures.Picture(shown.title, pixels, is_flat)


def _list_marks(shown: lesson_pictures.Picture) -> list[tuple[str, str]]:
  """Entries of a legend, color "#rrggbb" and name, for what occurs."""
  return [
    (charts.to_hex(visualize.TONE_COLORS[tone]), name)
    for number, (name, tone) in enumerate(shown.marks)
    if (shown.values == number).any()
  ]


def _tell_source(found: lessons.Lessons) -> str:
  """Whose lessons these are, in a line."""
  first, last = found.steps
  steps = f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"
  return (
    f"{found.workdir}: the networks of step {found.saved:,}, the batches of"
    f" {steps} of the phase {found.phase!r}"
  )
