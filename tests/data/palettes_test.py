"""Names and colors of classes that a file does not tell."""

import pytest

from u2pl_jax.data import cityscapes_labels, palettes


def test_voc_colors_are_those_of_its_masks():
  palette = palettes.voc_palette(256)
  assert palette[:5] == (
    (0, 0, 0),
    (128, 0, 0),
    (0, 128, 0),
    (128, 128, 0),
    (0, 0, 128),
  )
  assert palette[palettes.VOC_NAMES.index("person")] == (192, 128, 128)
  assert palette[palettes.VOC_NAMES.index("tvmonitor")] == (0, 64, 128)
  assert palette[255] == (224, 224, 192)
  assert len(set(palette)) == 256


@pytest.mark.parametrize(
  "num_classes, name, color",
  [(21, "aeroplane", (128, 0, 0)), (19, "sidewalk", (244, 35, 232))],
)
def test_published_class_counts_tell_the_dataset(num_classes, name, color):
  names, palette = palettes.guess_classes(num_classes)
  assert len(names) == len(palette) == num_classes
  assert (names[1], palette[1]) == (name, color)


def test_other_classes_are_numbered():
  names, palette = palettes.guess_classes(3)
  assert names == ("class 0", "class 1", "class 2")
  assert palette == palettes.voc_palette(3)


def test_cityscapes_has_a_color_for_each_of_its_classes():
  assert len(cityscapes_labels.CLASS_NAMES) == 19
  assert len(cityscapes_labels.PALETTE) == 19
