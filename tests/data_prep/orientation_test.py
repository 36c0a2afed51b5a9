"""Where sizes cannot tell what a mask was drawn on, its dataset does."""

import numpy as np
import pytest

from data_prep import orientation
from tests import picture_files


def pair(size, tag, drawn_on, reads=None):
  """Functions that read an image and the size of its mask."""
  upright = np.zeros((*size, 3), np.uint8)
  stored = picture_files.store(upright, tag)
  content = picture_files.encode(stored, "JPEG", tag)
  mask_size = {"stored": stored.shape[:2], "upright": size}.get(drawn_on)

  def read_mask_size():
    if reads is not None:
      reads.append(tag)
    return mask_size

  return lambda: content, read_mask_size


WIDE, SQUARE = (4, 6), (5, 5)


@pytest.mark.parametrize("drawn_on", orientation.MASK_ORIENTATIONS)
def test_masks_whose_sizes_tell_decide(drawn_on):
  pairs = [
    pair(SQUARE, 6, "stored"),
    pair(WIDE, 3, "stored"),
    pair(WIDE, 1, "stored"),
    pair(WIDE, 8, drawn_on),
    pair(WIDE, 5, drawn_on),
    pair(WIDE, 6, "no matter: turned by a tag of its own"),
  ]
  assert orientation.make_decider(pairs)() == drawn_on
  given = "upright" if drawn_on == "stored" else "stored"
  assert orientation.make_decider(pairs, given)() == given


@pytest.mark.parametrize(
  "pairs",
  [
    [],
    [pair(SQUARE, 6, "stored"), pair(WIDE, 2, "stored")],
    [pair(WIDE, 6, "stored"), pair(WIDE, 6, "upright")],
  ],
  ids=["none", "silent", "contrary"],
)
def test_without_evidence_nothing_is_decided(pairs):
  assert orientation.make_decider(pairs)() == ""


def test_masks_are_read_once_and_only_those_that_may_tell():
  reads = []
  pairs = [pair(WIDE, tag, "stored", reads) for tag in range(1, 9)]
  decide = orientation.make_decider(pairs)
  assert reads == []
  assert decide() == decide() == "stored"
  assert reads == [5, 6, 7, 8]


def test_broken_files_tell_nothing():
  def fail():
    raise ValueError("broken")

  pairs = [(fail, fail), (lambda: b"no image", fail), pair(WIDE, 6, "upright")]
  assert orientation.make_decider(pairs)() == "upright"
