"""Images as cards of a page: pictures in the page itself, and scores."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from concurrent import futures
from typing import Any

from u2pl_jax.report import examples, pictures

# Characters that all pictures together may take; the page stays below 30 MB,
# of which plotly.js has 5.
MAX_CHARACTERS = 22_000_000
_MIN_SIDE = 64  # Pixels; smaller pictures would show nothing.


@dataclasses.dataclass(frozen=True)
class Shown:
  """A picture in a page.

  Attributes:
    title: what it shows.
    uri: the picture itself, as "data:...".
    flat: see `pictures.Picture`.
  """

  title: str
  uri: str
  flat: bool


@dataclasses.dataclass(frozen=True)
class Card:
  """An example in a page.

  Attributes:
    name: the id of the image.
    size: (height, width) of the pictures.
    of_image: image and label.
    of_views: for each network, what it makes of the image.
    scores: what to sort and choose by, JSON-able: "record", and "miou",
      "accuracy" and "iou" [K] of each network in percent, None where there are
      none.
  """

  name: str
  size: tuple[int, int]
  of_image: tuple[Shown, ...]
  of_views: tuple[tuple[Shown, ...], ...]
  scores: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
  """An image in a page as pictures alone.

  Attributes:
    name: the id of the image.
    size: (height, width) of the pictures.
    shown: from left to right.
  """

  name: str
  size: tuple[int, int]
  shown: tuple[Shown, ...]


def make_row(name: str, drawn: Sequence[pictures.Picture]) -> Row:
  """The row of pictures of one size.

  Args:
    name: the id of the image.
    drawn: from left to right.
  """
  return Row(name, drawn[0].pixels.shape[:2], embed(drawn))


def embed(drawn: Iterable[pictures.Picture]) -> tuple[Shown, ...]:
  """Pictures as a page holds them."""
  return tuple(
    Shown(picture.title, pictures.to_data_uri(picture), picture.flat)
    for picture in drawn
  )


def make_cards(
  chosen: Sequence[examples.Example],
  palette: Sequence[Sequence[int]],
  thresholds: Sequence[float],
  max_characters: int = MAX_CHARACTERS,
) -> list[Card]:
  """Cards in the same order, with pictures as large as there is room for.

  Args:
    chosen: what to show.
    palette: [K] RGB.
    thresholds: the entropy threshold of each network's pseudo-labels, nats.
    max_characters: how many characters all pictures together may take.
  """
  side = examples.SIDE
  while True:
    # In threads: encoding is most of the work, and leaves Python's lock free.
    with futures.ThreadPoolExecutor() as pool:
      small = [examples.shrink(example, side) for example in chosen]
      make_card = functools.partial(
        _make_card, palette=palette, thresholds=thresholds
      )
      cards = list(pool.map(make_card, small))
    characters = sum(map(_count_characters, cards))
    if characters <= max_characters or side <= _MIN_SIDE:
      return cards
    # Bytes go with a power of the side between 1, of outlines, and 2.
    side = int(side * min(0.9, max_characters / characters))


def _make_card(
  example: examples.Example,
  palette: Sequence[Sequence[int]],
  thresholds: Sequence[float],
) -> Card:
  scores = [view.scores for view in example.views]
  return Card(
    name=example.name,
    size=example.label.shape,
    of_image=embed(pictures.of_image(example, palette)),
    of_views=tuple(
      embed(pictures.of_view(example, index, palette, threshold))
      for index, threshold in enumerate(thresholds)
    ),
    scores={
      "record": example.record,
      "miou": [_rounded(of_view.miou) for of_view in scores],
      "accuracy": [_rounded(of_view.pixel_accuracy) for of_view in scores],
      "iou": [list(map(_rounded, of_view.iou)) for of_view in scores],
    },
  )


def _rounded(percent: float) -> float | None:
  return None if math.isnan(percent) else round(float(percent), 2)


def _count_characters(card: Card) -> int:
  shown = [*card.of_image, *(s for view in card.of_views for s in view)]
  return sum(len(picture.uri) for picture in shown)
