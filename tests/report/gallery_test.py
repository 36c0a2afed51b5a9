"""Cards, and how large a page of many is."""

import dataclasses

import numpy as np
import pytest

from tests import tiny_network
from tests.report import reported
from u2pl_jax.report import examples, gallery, page

PALETTE = tiny_network.PALETTE


def count_characters(cards):
  return sum(
    len(picture.uri)
    for card in cards
    for picture in (*card.of_image, *sum(card.of_views, ()))
  )


def test_cards_have_all_pictures_and_scores():
  example = reported.make_example(3, num_views=2)
  (card,) = gallery.make_cards([example], PALETTE, [0.5, 0.6])
  assert (card.name, card.size) == ("image 3", (30, 40))
  assert [shown.title for shown in card.of_image] == ["Image", "Label"]
  for view in card.of_views:
    titles = [shown.title for shown in view]
    assert titles == ["Prediction", "Errors", "Entropy", "Pseudo-label"]
  assert card.scores["record"] == 3
  for index, view in enumerate(example.views):
    scores = card.scores
    assert scores["miou"][index] == pytest.approx(view.scores.miou, abs=0.005)
    assert scores["accuracy"][index] == pytest.approx(
      view.scores.pixel_accuracy, abs=0.005
    )
    np.testing.assert_allclose(
      scores["iou"][index], view.scores.iou, atol=0.005
    )


def test_classes_that_occur_nowhere_have_no_score():
  example = reported.make_example()
  view = example.views[0]
  scores = dataclasses.replace(view.scores, iou=np.array([1, np.nan]))
  example = dataclasses.replace(
    example, views=(dataclasses.replace(view, scores=scores),)
  )
  (card,) = gallery.make_cards([example], PALETTE, [0.5])
  assert card.scores["iou"] == [[1.0, None]]


def test_pictures_shrink_until_there_is_room():
  chosen = [
    reported.make_example(record, size=(160, 200), noise=1.0)
    for record in range(2)
  ]
  large = gallery.make_cards(chosen, PALETTE, [0.5])
  assert [card.size for card in large] == [(160, 200)] * 2
  room = count_characters(large) // 2
  small = gallery.make_cards(chosen, PALETTE, [0.5], room)
  assert count_characters(small) <= room
  assert all(64 <= max(card.size) < 200 for card in small)


def test_a_page_of_500_photographs_stays_below_30_mb():
  """Of predictions more ragged than those of a trained network."""
  size = (examples.SIDE * 3 // 4, examples.SIDE)
  drawn = [
    reported.make_example(record, size=size, noise=0.5) for record in range(10)
  ]
  chosen = [
    dataclasses.replace(drawn[index % 10], name=f"image {index}", record=index)
    for index in range(500)
  ]
  confusion = np.eye(5, dtype=np.int64)
  found = examples.Examples(
    "whole", 500, tuple(chosen), (confusion,), (np.zeros(4096, np.int64),)
  )
  config = {
    "method": "u2pl",
    "recipe": "paper",
    "seed": 0,
    "data": {"name": "toy", "split": "1"},
    "model": {"encoder": "resnet18"},
    "semi": {"drop_percent": 80.0},
  }
  html = page.render([reported.make_run(config=config)], found)
  assert html.count('<article class="card"') == 500
  assert 10e6 < len(html.encode()) < 30e6
