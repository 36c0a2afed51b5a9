"""Each layout, recognized by itself, gives its images and masks."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import folder
from tests import trees
from u2pl_jax.data import datasets


def read_examples(dataset):
  """Returns (image, label, has_label, part), by id."""
  undecoded = tfds.decode.SkipDecoding()
  builder = tfds.builder_from_directory(dataset.path)
  found = {}
  for part in ("train", "val"):
    rows = builder.as_data_source(
      part, decoders={"image": undecoded, "label": undecoded}
    )
    for row in (rows[n] for n in range(len(rows))):
      image, label = (
        np.asarray(Image.open(io.BytesIO(row[key])))
        for key in ("image", "label")
      )
      found[row["id"].decode()] = image, label, bool(row["has_label"]), part
  return found


@pytest.mark.parametrize("num_images", [6, 11])
@pytest.mark.parametrize("name", trees.LAYOUTS)
def test_layout_gives_its_images_and_masks(tmp_path, capsys, name, num_images):
  write, flags = trees.LAYOUTS[name]
  expected = write(tmp_path / "tree", num_images=num_images)
  arguments = [f"--root={tmp_path / 'tree'}", f"--data_dir={tmp_path / 'data'}"]
  code = folder.main([*arguments, "--name=mine", *flags])
  output = capsys.readouterr()
  assert code == 0, output.err
  assert output.out.startswith("recognized: ")
  dataset = datasets.open_dataset("mine", tmp_path / "data")
  assert dataset.num_classes == (2 if name == "carvana" else 3)
  found = read_examples(dataset)
  assert found.keys() == expected.keys()
  for example_id, example in expected.items():
    image, label, has_label, part = found[example_id]
    np.testing.assert_array_equal(image, example.image)
    assert has_label == (example.label is not None)
    if has_label:
      np.testing.assert_array_equal(label, example.label)
    assert part == (example.part or part)
  assert 1 <= len(dataset.ids["val"]) <= 2
  assert all(dataset.has_label["val"])
  split = datasets.read_split(dataset, "1_8")
  assert len(split.labeled) and len(split.unlabeled)
