"""What annotation tools call classes: no color and no name means two things."""

import pytest

from u2pl_jax.predict.annotation import labels

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def test_a_background_stays_one_and_unsure_pixels_are_drawn():
  found = labels.make(("Background", "cat"), (RED, RED))
  assert [(label.value, label.name, label.color) for label in found] == [
    (0, "Background", BLACK), (1, "cat", RED), (255, "unsure", WHITE)
  ]  # fmt: skip
  assert [label.is_drawn for label in found] == [False, True, True]


def test_without_one_the_background_is_what_has_no_class():
  found = labels.make(("sky", "road", "car", "sign"), (BLACK, RED, RED, WHITE))
  assert found[-1] == labels.Label(255, "background", BLACK, False)
  colors = [label.color for label in found]
  assert len(set(colors)) == 5 and colors[1] == RED
  assert all(label.is_drawn for label in found[:-1])


def test_a_class_cannot_be_called_unsure():
  with pytest.raises(ValueError, match="'Unsure' has the name .* rename"):
    labels.make(("sky", "Unsure"), (BLACK, RED))
