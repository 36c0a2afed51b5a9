"""Generated scenes, and preparing them once."""

import pathlib

import numpy as np
import pytest

from data_prep import synthetic
from u2pl_jax.data import (
  datasets,
  input_pipeline,
  label_counts,
  options,
  supply,
)

SMALL = {"num_labeled": 8, "num_unlabeled": 12, "num_val": 3, "image_size": 32}


def generate(seed, size=48):
  return synthetic.generate_scene(np.random.default_rng(seed), size)


@pytest.fixture(scope="module")
def scenes():
  return [generate(seed) for seed in range(60)]


def test_scene_has_documented_shapes_and_types():
  image, label = generate(0, size=40)
  assert image.shape == (40, 40, 3) and label.shape == (40, 40)
  assert image.dtype == label.dtype == np.uint8


def test_scene_depends_on_its_seed_alone():
  for a, b in zip(generate(5), generate(5)):
    np.testing.assert_array_equal(a, b)
  assert (generate(5)[0] != generate(6)[0]).any()


def test_every_class_occurs_and_two_are_rare(scenes):
  labels = np.stack([label for _, label in scenes])
  shares = np.bincount(labels.ravel(), minlength=8) / labels.size
  assert len(shares) == len(synthetic.CLASS_NAMES)
  assert (shares > 0.01).all()
  assert (shares < 0.06).sum() == 2


def test_scenes_hold_surfaces_and_objects(scenes):
  kinds = [set(np.unique(label)) for _, label in scenes]
  assert all(kind & {0, 1, 2, 3} for kind in kinds)
  assert all(kind & {4, 5, 6, 7} for kind in kinds)


def test_objects_can_be_made_rarer_still():
  def generate_rare(seed):
    rng = np.random.default_rng(seed)
    return synthetic.generate_scene(rng, 96, rare_percent=6)[1]

  labels = np.stack([generate_rare(seed) for seed in range(60)])
  shares = np.bincount(labels.ravel(), minlength=8) / labels.size
  assert (shares[:6] > 0.03).all()
  assert (shares[6:] > 0).all() and (shares[6:] < 0.015).all()


def test_objects_can_be_smaller_and_all_else_alike():
  def generate_scaled(scale):
    rng = np.random.default_rng(3)
    return synthetic.generate_scene(rng, 96, object_scale=scale)[1]

  usual, small = generate_scaled(None), generate_scaled(0.5)
  np.testing.assert_array_equal(usual, generate_scaled(1))
  is_object, is_small = usual >= 4, small >= 4
  assert (is_object | ~is_small).all()
  assert 0.15 < is_small.sum() / is_object.sum() < 0.45


def test_color_alone_does_not_tell_the_class(scenes):
  """The nearest mean color labels well under half of the pixels."""
  pixels = np.concatenate([image.reshape(-1, 3) for image, _ in scenes])
  labels = np.concatenate([label.ravel() for _, label in scenes])
  means = np.stack([pixels[labels == k].mean(0) for k in range(8)])
  nearest = ((pixels[::7, None] - means) ** 2).sum(-1).argmin(-1)
  assert (nearest == labels[::7]).mean() < 0.4


def test_prepare_makes_a_dataset_to_train_on(tmp_path):
  path = synthetic.prepare(tmp_path, **SMALL)
  dataset = datasets.open_dataset("synthetic", tmp_path)
  assert dataset.path == path
  assert len(dataset.ids["train"]) == 20 and len(dataset.ids["val"]) == 3
  split = datasets.read_split(dataset, "8")
  assert len(split.labeled) == 8 and len(split.unlabeled) == 12
  settings = options.DataOptions(batch_size_l=8, crop_size=(32, 32))
  batches = input_pipeline.make_train_iterator(
    dataset, split, settings, supply=supply.Supply(), seed=0
  )
  assert set(np.unique(next(batches)["label_l"])) >= {0, 4}


def test_every_class_occurs_twice_among_the_labeled(tmp_path):
  synthetic.prepare(tmp_path, **SMALL)
  dataset = datasets.open_dataset("synthetic", tmp_path)
  labeled = set(datasets.read_split(dataset, "8").labeled.tolist())
  # Scene i of the training part is drawn from the seed (0, i).
  present = [set(np.unique(generate([0, i], 32)[1])) for i in labeled]
  for k in range(8):
    assert sum(k in classes for classes in present) >= 2


def test_prepare_again_leaves_the_dataset_alone(tmp_path):
  path = synthetic.prepare(tmp_path, **SMALL)
  before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
  assert synthetic.prepare(tmp_path, **SMALL) == path
  assert before == {p: p.stat().st_mtime_ns for p in path.rglob("*")}


def test_other_parameters_are_refused_not_mixed_up(tmp_path):
  synthetic.prepare(tmp_path, **SMALL)
  with pytest.raises(ValueError, match="made with seed=0, not 1: delete it"):
    synthetic.prepare(tmp_path, **SMALL, seed=1)
  with pytest.raises(ValueError, match="made with rare_percent=None, not 6"):
    synthetic.prepare(tmp_path, **SMALL, rare_percent=6)
  other = synthetic.prepare(tmp_path, **SMALL, seed=1, name="other")
  assert other == datasets.dataset_path("other", tmp_path)


def test_one_class_can_be_told_from_all_others(tmp_path):
  synthetic.prepare(tmp_path, name="stars", **SMALL, foreground="star")
  dataset = datasets.open_dataset("stars", tmp_path)
  assert dataset.class_names == ("background", "star")
  split = datasets.read_split(dataset, "8")
  pixels = label_counts.count_pixels(dataset, split.labeled)
  assert 0 < pixels[1] < 0.2 * pixels[0]
  with pytest.raises(ValueError, match="foreground=None, not star"):
    synthetic.prepare(tmp_path, name="plain", **SMALL)
    synthetic.prepare(tmp_path, name="plain", **SMALL, foreground="star")
  with pytest.raises(ValueError, match="object_scale=3 must be above 0, at"):
    synthetic.prepare(tmp_path, name="large", **SMALL, object_scale=3)
  with pytest.raises(ValueError, match="foreground='tree' must be one of clou"):
    synthetic.prepare(tmp_path, name="trees", **SMALL, foreground="tree")


def test_too_few_labeled_scenes_are_refused(tmp_path):
  with pytest.raises(ValueError, match="2 labeled images are too few"):
    synthetic.prepare(tmp_path, **SMALL | {"num_labeled": 2})


def test_command_line(tmp_path, capsys):
  options = [f"--{key}={value}" for key, value in SMALL.items()]
  assert synthetic.main([f"--data_dir={tmp_path}", *options]) == 0
  assert "tiles" in capsys.readouterr().out
  assert synthetic.main([f"--data_dir={tmp_path}"]) == 1
  message = capsys.readouterr().err
  assert message.startswith("error: ") and message.count("\n") == 1


def test_unwritable_folder_is_one_line(tmp_path, capsys):
  pathlib.Path(tmp_path / "file").write_text("")
  assert synthetic.main([f"--data_dir={tmp_path / 'file'}"]) == 1
  message = capsys.readouterr().err
  assert message.startswith("error: ") and message.count("\n") == 1
