"""A prepared dataset of tiny images that can be told by their pixels."""

import numpy as np

from data_prep import folder
from tests import voc_tree
from u2pl_jax.data import datasets
from u2pl_jax.ops import normalize


def make(tmp_path):
  tree = voc_tree.write(
    tmp_path / "tree", num_train=13, num_unmasked=5, num_val=7, num_labeled=5
  )
  folder.prepare(tree, name="toy", data_dir=tmp_path / "data")
  return datasets.open_dataset("toy", tmp_path / "data")


def pad(pixels, size, color):
  """Pads centerd, as numpy does it; the smaller half comes first."""
  missing = np.array(size) - pixels.shape[:2]
  widths = [(m // 2, m - m // 2) for m in missing]
  return np.stack(
    [
      np.pad(channel, widths, constant_values=value)
      for channel, value in zip(np.moveaxis(pixels, -1, 0), color)
    ],
    -1,
  )


def whole_image(example_id):
  image = voc_tree.draw_image(example_id)
  return pad(image, (32, 32), normalize.MEAN_COLOR)


def whole_label(example_id, pad_label=255):
  mask = voc_tree.draw_mask(example_id)[..., None]
  return pad(mask, (32, 32), (pad_label,))[..., 0]


def find_ids(images, ids):
  """Tells which of `ids` each of the whole images shows."""
  by_pixels = {whole_image(i).tobytes(): i for i in ids}
  return [by_pixels[image.tobytes()] for image in images]


def assert_same_batches(actual, expected):
  assert len(actual) == len(expected)
  for a, b in zip(actual, expected):
    assert a.keys() == b.keys()
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])
