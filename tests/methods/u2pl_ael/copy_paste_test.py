import numpy as np
import pytest

from u2pl_jax.methods.u2pl_ael import copy_paste

NAMES = ("road", "car", "sign")


@pytest.mark.parametrize(
  "excluded, allowed",
  [((), [1, 1, 1]), (("road", 2), [0, 1, 0]), ((0, "road"), [0, 1, 1])],
)
def test_classes_are_excluded_by_name_or_number(excluded, allowed):
  found = copy_paste.find_allowed(excluded, NAMES)
  assert found.tolist() == [a > 0 for a in allowed]


@pytest.mark.parametrize(
  "excluded, message",
  [
    (("rode",), "ael.excluded names 'rode', which is no class.* is 'road'"),
    ((0, 1, 2, 8, 10), "holds class 8, but the dataset has 3 classes, 0 to 2"),
    ((-1,), "holds class -1, but the dataset has 3 classes"),
    ((0, 1, 2), "leaves no class to paste; shorten it, or set ael.copy_paste_"),
  ],
)
def test_a_wrong_list_is_refused_in_one_line(excluded, message):
  with pytest.raises(ValueError, match=message) as error:
    copy_paste.find_allowed(excluded, NAMES)
  assert "\n" not in str(error.value)


def test_pixels_of_chosen_classes_are_pasted():
  images = np.zeros((2, 1, 4, 3), np.uint8)
  labels = np.full((2, 1, 4), 7)
  partner = np.array([[[1, 2, 255, 0]], [[1, 2, 255, 0]]])
  chosen = np.zeros((2, 8), bool)
  chosen[0, [1]], chosen[1, [0, 2]] = True, True
  mixed, found, pasted = copy_paste.paste(
    images, labels, images + 9, partner, chosen
  )
  assert found[:, 0].tolist() == [[1, 7, 7, 7], [7, 2, 7, 0]]
  assert mixed[:, 0, :, 0].tolist() == [[9, 0, 0, 0], [0, 9, 0, 9]]
  assert pasted.sum() == 3


def test_a_partner_of_zeros_is_none():
  images, labels = np.zeros((1, 1, 2, 3)), np.ones((1, 1, 2), int)
  mixed, found, pasted = copy_paste.paste(
    images, labels, images + 1, labels * 0, np.ones((1, 3), bool)
  )
  assert not mixed.any() and (found == 1).all() and not pasted.any()
