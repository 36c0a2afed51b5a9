import io

import numpy as np
from PIL import Image

from tests import tiny_network
from tests.report import reported
from u2pl_jax.evaluation import visualize
from u2pl_jax.report import sheet

BACKGROUND = (31, 36, 43, 255)


def draw(rows, names=tiny_network.NAMES, palette=tiny_network.PALETTE):
  content = sheet.draw_sheet(rows, names, palette, threshold=0.7)
  return np.asarray(Image.open(io.BytesIO(content)))


def test_pixels_are_enlarged_by_a_whole_factor():
  example = reported.make_example(size=(96, 96))
  drawn = draw([example])
  label = visualize.colorize(example.label, tiny_network.PALETTE)
  large = label.repeat(3, 0).repeat(3, 1)
  top, left = 28 + 40, 28 + 288 + 12
  np.testing.assert_array_equal(
    drawn[top : top + 288, left : left + 288, :3], large
  )


def test_the_corners_are_clear_and_the_rest_is_not():
  drawn = draw([reported.make_example(record) for record in range(3)])
  assert drawn[0, 0, 3] == 0
  assert (drawn[30:-30, 30:-30, 3] == 255).all()
  assert tuple(drawn[drawn.shape[0] // 2, 5]) == BACKGROUND


def test_many_classes_take_several_lines():
  example = reported.make_example()
  one = draw([example])
  names = [f"a class of number {index}" for index in range(21)]
  several = draw([example], names, [(index, 9, 9) for index in range(21)])
  assert several.shape[0] > one.shape[0] + 80
  assert several.shape[1] == one.shape[1]


def test_images_of_several_sizes_fit():
  rows = [reported.make_example(size=size) for size in ((30, 40), (40, 30))]
  drawn = draw(rows)
  factor = 288 // 40
  assert drawn.shape[1] == 2 * 28 + 5 * (40 * factor + 12) - 12


def test_rows_are_the_middle_of_each_third():
  assert sheet.choose_rows(list(range(96))) == [16, 48, 80]
  assert sheet.choose_rows([7, 8]) == [7, 8]
